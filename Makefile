# Needs python3 with pip and venv, and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := smollm2-135m
PROMPT := The quick brown fox

.PHONY: demo test test-slow lint bench clean

# Localize language units in the bundled model, lesion them, show what changes; then the control
# that is matched on layer and magnitude, which says how much of it is selectivity.
demo: $(VENV)/.ready
	$(BIN)/lsns localize --model-name $(MODEL) --network language --percentage 1
	$(BIN)/lsns lesion --model-name $(MODEL) --percentage 1 --prompt "$(PROMPT)" \
		--network none language random --max-new-tokens 40
	$(BIN)/lsns lesion --model-name $(MODEL) --percentage 1 --prompt "$(PROMPT)" \
		--network random --control magnitude --max-new-tokens 20

# The whole suite; the bundled model is fetched first, so that no test has to wait for it.
test: $(VENV)/.ready-dev
	$(BIN)/python -m lsns.models.bundled
	$(BIN)/python -m pytest

# What takes minutes: every architecture, the full benchmarks, all batch sizes on the real model.
test-slow: $(VENV)/.ready-dev
	$(BIN)/python -m lsns.models.bundled
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/second_run.py
	$(BIN)/python benchmarks/lesion.py

clean:
	rm -rf $(VENV) cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-dev: requirements-dev.txt requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(VENV)/.ready $@
