# Needs python3 with pip and venv, and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint docs browser bench lowest clean

# Localize language units in the bundled model, lesion them beside controls, audit what was found,
# and write it all on one page.
demo: $(VENV)/.ready
	$(BIN)/lsns run examples/language.yaml
	@echo "the report is a page: open $(CURDIR)/results/report.html in a browser"

# The whole suite, in two workers with a thread each; the bundled model is fetched first, so that no
# test has to wait for it.
test: $(VENV)/.ready-dev
	$(BIN)/python -m lsns.models.bundled
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What takes minutes: every architecture, the full benchmarks, all batch sizes on the real model.
test-slow: $(VENV)/.ready-dev
	$(BIN)/python -m lsns.models.bundled
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The site of the documentation, into site/; whatever Sphinx warns of is an error.
docs: $(VENV)/.ready-dev
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html docs site

# Chromium and axe-core, for the tests of the report page; without them those tests are skipped.
browser: | $(VENV)/bin/python
	scripts/install_browser.sh

bench: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/second_run.py
	$(BIN)/python benchmarks/lesion.py
	$(BIN)/python benchmarks/scoring.py --pairs src/lsns/evaluation/data/minimal_pairs.jsonl --limit 10

# The main job with the oldest packages that pyproject.toml allows (torch: that of requirements.txt).
lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	grep "^torch==" requirements.txt > $(VENV)-lowest/constraints.txt
	$(PYTHON) scripts/lowest_versions.py torch >> $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c $(VENV)-lowest/constraints.txt -e '.[gguf,evaluation]'
	$(VENV)-lowest/bin/lsns localize --model-name smollm2-135m --percentage 1 --cache-dir $(VENV)-lowest/cache
	$(VENV)-lowest/bin/lsns evaluate --model-name smollm2-135m --percentage 1 --limit 1 --seeds 1 \
		--cache-dir $(VENV)-lowest/cache -o $(VENV)-lowest/results

clean:
	rm -rf $(VENV) $(VENV)-lowest cache site results

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-dev: requirements-dev.txt requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(VENV)/.ready $@
