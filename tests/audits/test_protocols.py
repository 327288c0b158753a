"""Masks of other methods and protocols: against localizing by each, and what running them costs."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from lsns import Contrast, Localization, activations, localize
from lsns.analysis import METHODS
from lsns.audits.protocols import (
    ProtocolOverlap,
    _describe_cost,
    _other_protocols,
    _Protocol,
    compare_methods,
    compare_protocols,
)
from lsns.models.factory import ModelRequest
from lsns.overlap import overlap
from tests.tiny import make_model

WORDS = ("cat", "mat", "moon", "storm", "hills", "harvest", "sat", "looked", "over", "before")
# Of different lengths: some texts are cut, and some are not.
POSITIVE = tuple(" ".join(["the", *WORDS[: 2 + i]]) for i in range(8))
NEGATIVE = tuple(" ".join([*WORDS[9 - i :], "a", "storm"]) for i in range(8))
CONTRAST = Contrast(name="tiny", positive=POSITIVE, negative=NEGATIVE, max_tokens=7)
OTHERS = ["last-token, whole texts", "mean, 7 tokens", "mean, whole texts"]


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def find(model, tmp_path):
    def localize_it(**options) -> Localization:
        options = {"num_units": 9, "contrast": CONTRAST} | options
        return localize(model, **options, cache_dir=tmp_path)

    return localize_it


def check(found: ProtocolOverlap, own: np.ndarray, other: np.ndarray) -> None:
    """Against sets of units."""
    first, second = (set(np.flatnonzero(units).tolist()) for units in (own, other))
    shared, total = len(first & second), own.size
    assert (found.units, found.shared) == (len(second), shared)
    assert found.dice == pytest.approx(2 * shared / (len(first) + len(second)))
    assert found.expected == pytest.approx(len(first) * len(second) / total)
    assert found.expected_by_layer == pytest.approx(
        sum(a * b for a, b in zip(own.sum(1), other.sum(1), strict=True)) / own.shape[1]
    )
    assert found.p_value == overlap(own, other).p_value


@pytest.mark.parametrize(
    "options",
    [{}, {"localize_range": "20-90", "seed": 3}, {"localize_range": "0-0"}, {"num_units": 30}],
)
@pytest.mark.parametrize("method", METHODS)
def test_other_methods_select_as_if_they_had_localized(find, method, options):
    found = find(method=method, **options)
    overlaps = compare_methods(found)
    assert [one.name for one in overlaps] == [
        f"{other} on the same activations" for other in METHODS if other != method
    ]
    for one, other in zip(overlaps, [o for o in METHODS if o != method], strict=True):
        assert one.kind == "method"
        check(one, found.mask.units, find(method=other, **options).mask.units)


def test_a_percentage_is_compared_at_its_number_of_units(find):
    found = find(num_units=None, percentage=10)
    assert found.mask.count == 4
    assert {one.units for one in compare_methods(found)} == {4}


def test_methods_without_outliers_are_compared_without_them(find):
    options = {"exclude_outliers": True, "outlier_threshold": 1.2}
    found = find(**options)
    assert found.barred.any()
    names = [one for one in METHODS if one != "ttest"]
    for name, one in zip(names, compare_methods(found), strict=True):
        check(one, found.mask.units, find(method=name, **options).mask.units)


def test_a_method_that_cannot_select_as_many_is_left_out(find):
    """Layer by layer there are not enough units without outliers, over all layers there are."""
    options = {"exclude_outliers": True, "outlier_threshold": 1.2}
    free = (~find(**options).barred).sum(axis=1)
    assert len(set(free.tolist())) > 1
    found = find(num_units=int(free.sum()), **options)
    names = [one.name.split()[0] for one in compare_methods(found)]
    assert names == ["ttest-signed", "mean"]


@pytest.mark.parametrize(
    ("options", "protocols"),
    [
        ({}, [("last-token", None), ("mean", 7), ("mean", None)]),
        ({"pooling": "mean"}, [("mean", None), ("last-token", 7), ("last-token", None)]),
        # Whole texts: cut where the contrast's protocol cuts them.
        ({"max_tokens": None}, [("last-token", 7), ("mean", 7), ("mean", None)]),
        ({"max_tokens": 5}, [("last-token", None), ("mean", 5), ("mean", None)]),
        (
            {"pooling": "sum"},
            [("sum", None), ("last-token", 7), ("last-token", None), ("mean", 7), ("mean", None)],
        ),
    ],
)
def test_which_protocols_there_are(find, options, protocols):
    assert list(_other_protocols(find(**options))) == [_Protocol(*one) for one in protocols]


def test_texts_that_no_protocol_cuts_are_cut_at_twelve(find):
    contrast = Contrast(name="whole", positive=POSITIVE, negative=NEGATIVE)
    found = find(contrast=contrast)
    assert [one.words for one in _other_protocols(found)] == [
        "last-token, 12 tokens", "mean, 12 tokens", "mean, whole texts"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "ttest-signed", "localize_range": "30-95", "seed": 5},
        {"exclude_outliers": True, "outlier_threshold": 1.5},
    ],
)
def test_other_protocols_select_as_if_they_had_localized(find, model, options):
    found = find(**options)
    overlaps = compare_protocols(found, model, run=True)
    assert [one.name for one in overlaps] == OTHERS
    for one, protocol in zip(overlaps, _other_protocols(found), strict=True):
        assert one.kind == "protocol"
        other = find(pooling=protocol.pooling, max_tokens=protocol.max_tokens, **options)
        check(one, found.mask.units, other.mask.units)


@pytest.fixture
def tokens_run(model, monkeypatch) -> list[int]:
    """How many tokens are read for activations, in each forward pass."""
    counted: list[int] = []
    run = activations._run_batch

    def counting(model, tokens, pooling):
        counted.append(sum(map(len, tokens)))
        return run(model, tokens, pooling)

    monkeypatch.setattr(activations, "_run_batch", counting)
    return counted


@pytest.mark.parametrize("options", [{}, {"max_tokens": None}, {"pooling": "sum", "max_tokens": 3}])
def test_what_is_announced_is_what_runs(find, model, tokens_run, caplog, options):
    caplog.set_level(logging.INFO, logger="lsns")
    found = find(**options)
    read = sum(tokens_run)
    assert read == sum(found.measurement.items["tokens"])
    tokens_run.clear()
    expected = _describe_cost(found, list(_other_protocols(found)))
    assert not tokens_run
    overlaps = compare_protocols(found, model, run=True)
    assert f"{len(overlaps)} more passes over 16 texts (" in expected
    assert f": {sum(tokens_run)} tokens, {sum(tokens_run) / read:.1f} times " in expected
    assert [r.getMessage() for r in caplog.records if "more passes" in r.message] == [expected]


def test_it_is_announced_before_the_model_runs(find, model, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="lsns")
    found = find()

    def refuse(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(activations, "_run_batch", refuse)
    with pytest.raises(KeyboardInterrupt):
        compare_protocols(found, model, run=True)
    assert "3 more passes over 16 texts" in caplog.text


def test_only_what_is_missing_is_announced_and_run(find, model, tokens_run, caplog):
    caplog.set_level(logging.INFO, logger="lsns")
    found = find()
    mean = find(pooling="mean", max_tokens=None)
    tokens_run.clear()
    missing = [_Protocol("last-token", None), _Protocol("mean", 7)]
    overlaps = compare_protocols(found, model, run=True)
    assert _describe_cost(found, missing) in caplog.text
    whole = found.measurement.items["whole"]
    assert sum(tokens_run) == sum(whole) + sum(min(n, 7) for n in whole)
    check(overlaps[2], found.mask.units, mean.mask.units)
    tokens_run.clear()
    caplog.clear()
    assert compare_protocols(found, model, run=True) == overlaps
    assert not tokens_run
    assert "more passes" not in caplog.text


def test_unless_it_is_asked_to_run_only_what_is_cached_is_compared(find, model, tokens_run):
    found = find()
    assert compare_protocols(found, None, run=True) == []
    assert compare_protocols(found, model, run=False) == []
    mean = find(pooling="mean")
    tokens_run.clear()
    (only,) = compare_protocols(found, model, run=False)
    assert only.name == "mean, 7 tokens"
    check(only, found.mask.units, mean.mask.units)
    assert not tokens_run


def test_a_model_that_is_asked_for_by_name_is_loaded_only_to_run(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    model = make_model()
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    request = ModelRequest(str(folder), device="cpu")
    loads = []
    load = ModelRequest.load
    monkeypatch.setattr(ModelRequest, "load", lambda self: loads.append(self.name) or load(self))
    options = {"num_units": 9, "cache_dir": tmp_path / "cache"}
    found = localize(request, CONTRAST, **options)
    loads.clear()
    assert compare_protocols(found, request, run=False) == []
    assert loads == []
    ran = compare_protocols(found, request, run=True)
    assert [one.name for one in ran] == OTHERS
    assert len(loads) == 1
    assert compare_protocols(found, request, run=True) == ran
    assert len(loads) == 1
