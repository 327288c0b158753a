"""The main job: right, the same whatever the batching, and kept."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_ind

import lsns
from lsns import activations
from lsns.analysis import METHODS
from lsns.localization import file_names, units_path
from lsns.measurement import fold_of_items, measure
from lsns.models.factory import ModelRequest
from lsns.stimuli.networks import NETWORKS
from tests.tiny import make_model, write_inputs

PER_LAYER = [
    *[5, 0, 0, 1, 1, 2, 2, 1, 1, 1, 2, 1, 2, 3, 5],
    *[4, 3, 5, 9, 22, 16, 14, 13, 6, 9, 9, 8, 13, 6, 8],
]


def words(seed: int, n: int, letters: str) -> tuple[str, ...]:
    rng = random.Random(seed)
    return tuple(
        " ".join("".join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(6))
        for _ in range(n)
    )


@pytest.fixture
def contrast() -> lsns.Contrast:
    return lsns.Contrast("own", words(1, 23, "abcdef"), words(2, 17, "stuvwx"))


@pytest.fixture(scope="session")
def published(langloc, tmp_path_factory):
    """The published protocol on the bundled model, run once."""
    cache = tmp_path_factory.mktemp("published")
    found = lsns.localize("smollm2-135m", langloc, percentage=1, cache_dir=cache)
    return found, cache


def test_published_protocol_on_the_real_model(published):
    found, _ = published
    assert found.mask.count == 172
    assert found.mask.per_layer.tolist() == PER_LAYER
    assert found.manifest["selection"]["weakest_t"] == pytest.approx(8.672, abs=5e-4)
    assert found.t_values.max() == pytest.approx(27.35, abs=5e-3)
    large = {
        place: int((found.mask.units & (x > 10 * np.median(x, axis=1, keepdims=True))).sum())
        for place, x in found.sizes.items()
    }
    assert large == {"pooled": 17, "tokens": 26, "first": 37}
    assert int(found.outliers.sum()) == 39


def test_without_outliers_the_real_mask_has_as_many_units_and_keeps_the_others(published, langloc):
    found, cache = published
    without = lsns.localize(
        "smollm2-135m", langloc, percentage=1, cache_dir=cache, exclude_outliers=True
    )
    magnitudes = np.abs(np.asarray(found.measurement.activations()).astype(float)).mean(axis=0)
    assert np.array_equal(found.sizes["pooled"], found.magnitudes)
    np.testing.assert_allclose(found.magnitudes, magnitudes)
    over = [x > 10 * np.median(x, axis=1, keepdims=True) for x in found.sizes.values()]
    outliers = np.any(over, axis=0)
    assert np.array_equal(found.outlier_units, outliers)
    assert without.mask.count == 172
    assert not (without.mask.units & outliers).any()
    kept = found.mask.units & ~outliers
    assert kept.sum() == 133
    assert (without.mask.units & kept).sum() == 133
    ranked = np.argsort(-np.where(outliers, -np.inf, found.scores).ravel())[:172]
    assert set(np.flatnonzero(without.mask.units)) == set(ranked)


def test_examples_of_the_stimuli_are_in_the_manifest_also_from_the_cache(
    tiny_model, contrast, tmp_path
):
    first = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    more = replace(contrast, further={"third": ("one", "two", "three")})
    again = lsns.localize(tiny_model, more, percentage=10, cache_dir=tmp_path)
    main = {"positive": list(contrast.positive[:2]), "negative": list(contrast.negative[:2])}
    assert first.manifest["stimuli"]["examples"] == main
    assert again.manifest["stimuli"]["examples"] == main | {"third": ["one", "two"]}
    saved = json.loads(again.save(tmp_path / "saved")[0].with_suffix(".json").read_text())
    assert saved["stimuli"]["examples"] == again.manifest["stimuli"]["examples"]


def test_t_and_p_are_scipys(published):
    found, _ = published
    rows = found.measurement.activations()
    positive, negative = np.abs(rows[:240].astype(float)), np.abs(rows[240:].astype(float))
    t, p = ttest_ind(positive, negative, axis=0, equal_var=False)
    np.testing.assert_allclose(found.t_values, t, rtol=1e-9)
    np.testing.assert_allclose(
        found.p_values.ravel(), false_discovery_control(p.ravel()), rtol=1e-9
    )


def test_the_other_methods_are_numpys_and_scipys_on_real_activations(published, langloc):
    found, cache = published
    rows = np.asarray(found.measurement.activations()).astype(float)
    positive, negative = rows[:240], rows[240:]
    difference = positive.mean(0) - negative.mean(0)
    expected = {
        "ttest-signed": ttest_ind(positive, negative, axis=0, equal_var=False).statistic,
        "mean": np.abs(positive).mean(0) - np.abs(negative).mean(0),
        "nmd": np.abs(difference),
    }
    for method, scores in expected.items():
        other = lsns.localize("smollm2-135m", langloc, method=method, percentage=1, cache_dir=cache)
        np.testing.assert_allclose(other.scores, scores, rtol=1e-7, atol=1e-9)
        if method == "nmd":
            chosen = [set(np.argsort(-row)[:5]) for row in scores]
            assert [set(np.flatnonzero(row)) for row in other.mask.units] == chosen
        else:
            chosen = set(np.argsort(-scores.ravel())[:172])
            assert set(np.flatnonzero(other.mask.units)) == chosen


def test_the_cached_activations_are_those_of_extract(published, bundled, langloc):
    found, _ = published
    contrast = lsns.load_contrast(langloc)
    some = [0, 7, 239, 240, 479]
    expected = lsns.extract(bundled, [contrast.texts[i] for i in some], max_tokens=12, batch_size=1)
    rows = found.measurement.activations()
    np.testing.assert_allclose(rows[some], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "batch_size",
    [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(32, marks=pytest.mark.slow), 96],
)
def test_real_mask_is_the_same_for_any_batch_size_and_order(
    published, bundled, langloc, tmp_path, batch_size
):
    contrast = shuffled(lsns.load_contrast(langloc), seed=batch_size)
    found = lsns.localize(
        bundled, contrast, percentage=1, cache_dir=tmp_path, batch_size=batch_size
    )
    assert np.array_equal(found.mask.units, published[0].mask.units)


def shuffled(contrast: lsns.Contrast, seed: int) -> lsns.Contrast:
    rng = random.Random(seed)
    positive, negative = list(contrast.positive), list(contrast.negative)
    rng.shuffle(positive)
    rng.shuffle(negative)
    return replace(contrast, positive=tuple(positive), negative=tuple(negative))


@pytest.mark.parametrize("pooling", ["last-token", "mean", "sum"])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 96])
def test_mask_is_the_same_for_any_batch_size_and_order(
    tiny_model, contrast, tmp_path, batch_size, pooling
):
    options = {"percentage": 25, "pooling": pooling}
    straight = lsns.localize(tiny_model, contrast, cache_dir=tmp_path / "a", **options)
    other = lsns.localize(
        tiny_model,
        shuffled(contrast, seed=3),
        cache_dir=tmp_path / "b",
        batch_size=batch_size,
        **options,
    )
    assert np.array_equal(straight.mask.units, other.mask.units)
    np.testing.assert_allclose(straight.scores, other.scores, rtol=1e-3, atol=1e-4)


def test_shuffled_stimuli_give_the_same_bytes(tiny_model, contrast, tmp_path):
    grouped = replace(
        contrast,
        positive_groups=tuple(f"p{hash_of(t)}" for t in contrast.positive),
        negative_groups=tuple(f"n{hash_of(t)}" for t in contrast.negative),
    )
    order = list(range(len(grouped.positive)))
    random.Random(5).shuffle(order)
    other = replace(
        grouped,
        positive=tuple(grouped.positive[i] for i in order),
        positive_groups=tuple(grouped.positive_groups[i] for i in order),
    )
    first = lsns.localize(tiny_model, grouped, percentage=25, cache_dir=tmp_path)
    second = lsns.localize(tiny_model, other, percentage=25, cache_dir=tmp_path)
    assert first.scores.tobytes() == second.scores.tobytes()
    assert first.p_values.tobytes() == second.p_values.tobytes()


def hash_of(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize("method", ["ttest", "ttest-signed", "nmd", "mean"])
@pytest.mark.parametrize("where", ["100-100", "0-0", "10-90"])
def test_another_selection_needs_no_forward_pass(
    tiny_model, contrast, tmp_path, monkeypatch, method, where
):
    lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    monkeypatch.setattr("lsns.activations._run_batch", lambda *_: pytest.fail("the model ran"))
    found = lsns.localize(
        tiny_model,
        contrast,
        method=method,
        percentage=20,
        localize_range=where,
        cache_dir=tmp_path,
    )
    # 20% of 48 units; nmd: 20% of 16 in each of 3 layers.
    assert found.mask.count == 9


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "mean"},
        {"max_tokens": 3},
        {"contrast": {"positive": words(9, 23, "abcdef")}},
        {"overwrite": True},
    ],
)
def test_what_changes_the_activations_is_computed_again(
    tiny_model, contrast, tmp_path, monkeypatch, change
):
    lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    runs: list[int] = []
    run = activations._run_batch
    counted = lambda *a: (runs.append(1), run(*a))[1]  # noqa: E731
    monkeypatch.setattr(activations, "_run_batch", counted)
    change = dict(change)
    other = replace(contrast, **change.pop("contrast", {}))
    lsns.localize(tiny_model, other, percentage=10, cache_dir=tmp_path, **change)
    assert runs


def test_changed_weights_are_another_model(tiny_model, contrast, tmp_path):
    import torch

    before = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    with torch.no_grad():
        tiny_model.model.model.layers[0].mlp.down_proj.weight.mul_(-3.0)
    after = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert before.manifest["model"]["identity"] != after.manifest["model"]["identity"]
    assert not np.array_equal(before.scores, after.scores)


def test_a_lesioned_model_is_not_taken_for_the_intact_one(tiny_model, contrast, tmp_path):
    intact = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    with lsns.lesion(tiny_model, intact.mask):
        lesioned = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert (lesioned.t_values[intact.mask.units] == 0).all()
    assert not np.array_equal(lesioned.scores, intact.scores)
    again = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert np.array_equal(again.scores, intact.scores)


@pytest.mark.parametrize("damage", ["cut", "flip"])
@pytest.mark.parametrize("name", ["moments.npz", "activations.npy", "manifest.json"])
def test_damaged_cache_is_noticed_and_made_again(tiny_model, contrast, tmp_path, damage, name):
    first = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    path = first.measurement.store.folder / name
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    again = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert again.scores.tobytes() == first.scores.tobytes()


def test_damage_is_said(tiny_model, contrast, tmp_path, caplog):
    first = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    (first.measurement.store.folder / "moments.npz").write_bytes(b"other bytes")
    lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert "moments.npz is damaged; made again" in caplog.text


def test_moments_are_mended_from_the_activations_without_the_model(
    tiny_model, contrast, tmp_path, monkeypatch
):
    first = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    (first.measurement.store.folder / "moments.npz").unlink()
    monkeypatch.setattr("lsns.activations._run_batch", lambda *_: pytest.fail("the model ran"))
    again = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert again.scores.tobytes() == first.scores.tobytes()


def test_an_interrupted_run_goes_on(tiny_model, contrast, tmp_path, monkeypatch):
    expected = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path / "whole")
    monkeypatch.setattr("lsns.measurement.plan_chunks", chunks_of_ten)
    run, calls = activations._run_batch, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(activations, "_run_batch", interrupt)
    with pytest.raises(KeyboardInterrupt, match="20 of 40 texts are kept"):
        lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path / "cut")
    assert not any(module._forward_hooks for module in tiny_model.model.modules())
    calls.extend([1] * 10)
    before = len(calls)
    found = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path / "cut")
    assert len(calls) - before == 2
    assert np.array_equal(found.mask.units, expected.mask.units)


def chunks_of_ten(tokens):
    from lsns.chunks import plan_chunks

    return plan_chunks(tokens, size=10)


def test_above_the_limit_only_the_moments_are_kept(tiny_model, contrast, tmp_path, monkeypatch):
    whole = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path / "a")
    monkeypatch.setattr("lsns.measurement.ACTIVATIONS_LIMIT_BYTES", 10)
    found = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path / "b")
    assert found.measurement.activations() is None
    assert found.scores.tobytes() == whole.scores.tobytes()
    monkeypatch.setattr("lsns.activations._run_batch", lambda *_: pytest.fail("the model ran"))
    lsns.localize(tiny_model, contrast, percentage=20, cache_dir=tmp_path / "b")


def test_moments_of_folds_add_up(tiny_model, contrast, tmp_path):
    measurement = measure(tiny_model, contrast, cache_dir=tmp_path)
    rows = lsns.extract(tiny_model, contrast.texts)
    assert sum(fold[0].n for fold in measurement.folds) == 23
    assert sum(fold[1].n for fold in measurement.folds) == 17
    np.testing.assert_allclose(measurement.positive.mean, rows[:23].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        measurement.negative.abs_m2, np.abs(rows[23:]).var(axis=0) * 17, rtol=1e-3, atol=1e-6
    )


def test_a_group_is_never_split_between_folds():
    groups = [f"pair {i // 2}" for i in range(60)]
    folds = fold_of_items(groups, 10)
    assert folds[::2] == folds[1::2]
    assert {folds.count(fold) for fold in range(10)} == {6}


def test_the_same_weights_under_another_name_keep_their_own_name(contrast, tmp_path):
    tiny = make_model()
    names = []
    for name in ("first", "second"):
        tiny.model.save_pretrained(tmp_path / name)
        tiny.tokenizer.save_pretrained(tmp_path / name)
        renamed = replace(contrast, source=f"source of {name}")
        found = lsns.localize(
            str(tmp_path / name), renamed, percentage=10, cache_dir=tmp_path / "cache"
        )
        names.append((found.manifest["model"]["label"], found.manifest["stimuli"]["source"]))
    assert names == [("first", "source of first"), ("second", "source of second")]
    assert len(list((tmp_path / "cache" / "activations").iterdir())) == 1


def test_untrained_weights_follow_their_seed_and_nothing_else(tmp_path):
    import torch

    folder = tmp_path / "model"
    tiny = make_model()
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    state = torch.random.get_rng_state()
    models = [
        lsns.load_model(str(folder), pretrained=False, seed=seed, device="cpu")
        for seed in (1, 1, 2)
    ]
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [model.model.model.layers[0].mlp.up_proj.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_saved_files_are_named_as_published_and_carry_a_manifest(tiny_model, contrast, tmp_path):
    found = lsns.localize(tiny_model, contrast, percentage=5.0, pooling="last", cache_dir=tmp_path)
    mask, p_values = found.save(tmp_path)
    assert mask.name == (
        "tiny_network=own_pooling=last-token_range=100-100_perc=5.0_nunits=None_pretrained=True.npy"
    )
    assert p_values.name == "tiny_network=own_pooling=last-token_pretrained=True_pvalues.npy"
    assert np.array_equal(np.load(mask, allow_pickle=False), found.mask.units)
    assert np.array_equal(np.load(p_values, allow_pickle=False), found.p_values)
    for path in (mask, p_values):
        manifest = json.loads(path.with_suffix(".json").read_text())
        assert manifest["stimuli"]["digest"] == contrast.digest
        assert manifest["protocol"]["pooling"] == "last-token"
        assert manifest["selection"]["selected"] == 2
    assert np.array_equal(lsns.UnitMask.load(mask).units, found.mask.units)


def test_a_table_of_all_units_is_beside_the_mask(tiny_model, contrast, tmp_path):
    found = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    mask, _ = found.save(tmp_path)
    path = units_path(mask)
    assert path.name == f"{mask.stem}_units.csv"
    names = path.read_text().splitlines()[0]
    assert names == "layer,unit,t,p,magnitude,magnitude_tokens,magnitude_first,outlier,selected"
    layer, unit, *values = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    assert len(layer) == found.mask.units.size
    place = layer.astype(int), unit.astype(int)
    sizes = found.sizes.values()
    arrays = (found.t_values, found.p_values, *sizes, found.outlier_units)
    # The very numbers: nothing is rounded.
    for column, array in zip(values, (*arrays, found.mask.units), strict=True):
        assert np.array_equal(column, array[place])
    frame = found.to_frame()
    assert ",".join(frame.columns) == names
    assert np.array_equal(frame["t"], found.t_values.ravel())
    assert np.array_equal(frame[frame["selected"]]["unit"], np.nonzero(found.mask.units)[1])
    assert f"<td>{found.mask.per_layer[0]}</td>" in found._repr_html_()
    before = path.read_bytes()
    found.save(tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*")), "nothing half-written"


def test_files_of_the_same_run_are_the_same_bytes(tiny_model, contrast, tmp_path):
    written = []
    for name in ("a", "b"):
        found = lsns.localize(tiny_model, contrast, percentage=5, cache_dir=tmp_path / name)
        written.append([path.read_bytes() for path in found.save(tmp_path / name)])
    assert written[0] == written[1]


def test_replacing_another_runs_file_is_said(tiny_model, contrast, tmp_path, caplog):
    lsns.localize(tiny_model, contrast, percentage=5, cache_dir=tmp_path).save(tmp_path)
    other = replace(contrast, positive=words(7, 23, "abcdef"))
    assert "another run" not in caplog.text
    lsns.localize(tiny_model, other, percentage=5, cache_dir=tmp_path).save(tmp_path)
    assert "came from another run" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentage": 0}, "percentage must be above 0"),
        ({"percentage": -1}, "percentage must be above 0"),
        ({"percentage": 101}, "at most 100; got 101"),
        ({"percentage": float("nan")}, "got nan"),
        ({"num_units": 0}, "num-units must be at least 1"),
        ({"num_units": 49}, "between 1 and 48"),
        ({"percentage": 1, "num_units": 3}, "not both"),
        ({"localize_range": "90-80"}, "'90-80' is not possible"),
        ({"localize_range": "99-100", "percentage": 50}, "widen the range or ask for fewer"),
        ({"method": "magic"}, "no method 'magic'; use one of ttest"),
        ({"pooling": "max"}, "no pooling 'max'"),
        ({"max_tokens": 0}, "max-tokens must be at least 1"),
        ({"batch_size": 0}, "batch-size must be at least 1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tiny_model, contrast, tmp_path, options, message):
    with pytest.raises(lsns.LsnsError, match=message) as caught:
        lsns.localize(tiny_model, contrast, cache_dir=tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["ttest", "ttest-signed", "nmd", "mean"])
@pytest.mark.parametrize(
    "selection",
    [
        {"percentage": 20},
        {"num_units": 10, "per_layer": True},
        {"percentage": 20, "localize_range": "0-0"},
        {"percentage": 20, "localize_range": "10-90", "seed": 3},
    ],
)
def test_outliers_are_excluded_and_the_number_of_units_stays(
    tiny_model, contrast, tmp_path, method, selection
):
    options = {"method": method, "outlier_threshold": 1.2, "cache_dir": tmp_path, **selection}
    usual = lsns.localize(tiny_model, contrast, **options)
    without = lsns.localize(tiny_model, contrast, exclude_outliers=True, **options)
    magnitudes = np.abs(lsns.extract(tiny_model, contrast.texts)).mean(axis=0)
    outliers = magnitudes > 1.2 * np.median(magnitudes, axis=1, keepdims=True)
    assert outliers.sum() == 4
    for found in (usual, without):
        assert np.array_equal(found.outlier_units, outliers)
        assert np.array_equal(found.outliers, outliers & found.mask.units)
    assert without.mask.count == usual.mask.count
    assert not without.outliers.any()
    if selection.get("per_layer"):
        assert without.mask.per_layer.tolist() == [4, 3, 3]
    assert np.array_equal(without.scores, usual.scores)


def test_the_manifest_and_the_files_say_that_outliers_were_excluded(tiny_model, contrast, tmp_path):
    options = {"percentage": 20, "cache_dir": tmp_path}
    usual = lsns.localize(tiny_model, contrast, outlier_threshold=1.2, **options)
    assert usual.manifest["selection"]["exclude_outliers"] is False
    assert "outlier_threshold" not in usual.manifest["selection"]
    assert usual.barred is None
    names = [path.name for path in usual.save(tmp_path)]
    for threshold in (1.2, 5):
        without = lsns.localize(
            tiny_model, contrast, exclude_outliers=True, outlier_threshold=threshold, **options
        )
        selection = without.manifest["selection"]
        assert selection["exclude_outliers"] is True
        assert selection["outlier_threshold"] == threshold
        assert np.array_equal(without.barred, without.outlier_units)
        names += [path.name for path in without.save(tmp_path)]
        assert lsns.UnitMask.load(tmp_path / names[-2]).manifest["selection"] == selection
    assert len(set(names)) == 6
    assert names[2].endswith("_pretrained=True_excludeoutliers=1.2.npy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentage": 100}, "48 units of the model were asked for and only 44 may be selected"),
        ({"method": "nmd", "percentage": 95}, "15 units of layer 0 .* only 14 may be"),
        ({"percentage": 1, "outlier_threshold": 0}, "outlier-threshold must be .* got 0"),
        ({"percentage": 1, "outlier_threshold": float("nan")}, "outlier-threshold"),
    ],
)
def test_exclusions_that_cannot_be_are_refused(tiny_model, contrast, tmp_path, options, message):
    options = {"outlier_threshold": 1.2, "exclude_outliers": True, **options}
    with pytest.raises(lsns.LsnsError, match=message) as caught:
        lsns.localize(tiny_model, contrast, cache_dir=tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_all_units_can_be_selected(tiny_model, contrast, tmp_path):
    found = lsns.localize(tiny_model, contrast, percentage=100, cache_dir=tmp_path)
    assert found.mask.count == 48


def test_pooling_by_sum_has_no_mean_of_a_token(tiny_model, contrast, tmp_path):
    found = lsns.localize(tiny_model, contrast, percentage=10, pooling="sum", cache_dir=tmp_path)
    with pytest.raises(lsns.LsnsError, match="pooling by sum"):
        _ = found.means


def test_a_request_is_loaded_only_if_needed(contrast, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    tiny = make_model()
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    request = ModelRequest(str(folder), device="cpu")
    first = lsns.localize(request, contrast, percentage=10, cache_dir=tmp_path)
    monkeypatch.setattr(ModelRequest, "load", lambda _: pytest.fail("the model was loaded"))
    second = lsns.localize(request, contrast, percentage=10, cache_dir=tmp_path)
    assert np.array_equal(first.mask.units, second.mask.units)
    assert first.manifest == second.manifest


def test_killed_in_the_middle_nothing_is_lost(langloc, tmp_path):
    """kill -9, then the same command: what was done is not done again."""
    command = [sys.executable, "-m", "lsns", "localize", "--model-name", "smollm2-135m"]
    command += ["--stimuli", str(langloc), "--cache-dir", str(tmp_path), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = wait_for_rows(tmp_path, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < done < 480
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "texts are there from an earlier run" in again.stderr
    assert "weakest selected 8.672" in again.stdout


def wait_for_rows(folder, process) -> int:
    for _ in range(1200):
        parts = list(folder.glob("activations/*.parts/*.part"))
        if parts:
            return 96 * len(parts)
        assert process.poll() is None
        time.sleep(0.05)
    raise TimeoutError


PLAIN = {
    "label": "gpt2", "dtype": "float32", "pretrained": True, "init_seed": 42, "revision": None,
    "quantization": None, "blocks": None, "lesions": (), "network": "language", "digest": None,
    "pooling": "last-token", "max_tokens": 12, "method": "ttest", "percentage": 5.0,
    "num_units": None, "localize_range": "100-100", "per_layer": False, "seed": 42,
    "exclude_outliers": False, "outlier_threshold": 10.0,
}  # fmt: skip
HOSTILE = (
    "gpt2_network=x",
    "a/b",
    "../a",
    "..",
    ".",
    "a\nb",
    "",
    "~",
    "\ud800",
    "é" * 200,
    "x" * 300,
)
OTHERS = {
    "label": ("gpt2-medium", "gpt2_dtype=bfloat16", *HOSTILE),
    "dtype": ("bfloat16", "float16", "auto"),
    "pretrained": (False,), "init_seed": (2,), "revision": ("main", "a/b", *HOSTILE),
    "quantization": ("8bit", "4bit"), "blocks": ("model.layers", *HOSTILE),
    "lesions": (("a",), ("a", "b")),
    "network": ("own", "theory-of-mind", "a_pooling=mean", *HOSTILE),
    "digest": ("0" * 64, "1" * 64), "pooling": ("mean",), "max_tokens": (20, None),
    "method": ("nmd", "mean", "my_method", "my-method", *HOSTILE),
    "percentage": (1.0, None), "num_units": (3,), "localize_range": ("0-0", "80-90", "80-90\n"),
    "per_layer": (True,), "seed": (2,), "exclude_outliers": (True,),
    "outlier_threshold": (10.000001, 10.0000001),
}  # fmt: skip


def manifest_of(options: dict) -> dict:
    network, digest = options["network"], options["digest"]
    if digest is None and network in NETWORKS:
        digest = lsns.load_contrast(network).digest
    init_seed = None if options["pretrained"] else options["init_seed"]
    return {
        "model": {
            **{"identity": "hub:gpt2@0", "pretrained": options["pretrained"]},
            **{key: options[key] for key in ("label", "dtype", "revision", "quantization")},
            **{"init_seed": init_seed, "blocks": options["blocks"], "lesions": options["lesions"]},
        },
        "stimuli": {"name": network, "digest": digest or "5" * 64},
        "protocol": {"pooling": options["pooling"], "max_tokens": options["max_tokens"]},
        "selection": {
            key: options[key]
            for key in (
                *("method", "percentage", "num_units", "localize_range", "per_layer", "seed"),
                *("exclude_outliers", "outlier_threshold"),
            )
        },
    }


def matters(options: dict) -> tuple:
    """What of the options can make another mask, and another file of p-values."""
    of = dict(options)
    if of["pretrained"]:
        del of["init_seed"]
    if not of["exclude_outliers"]:
        del of["outlier_threshold"]
    built_in = of["method"] in METHODS
    if built_in and of["localize_range"] in ("100-100", "0-0"):
        del of["seed"]
    if of["network"] not in NETWORKS:
        del of["digest"]
    return tuple(sorted((key, repr(value)) for key, value in of.items()))


some_options = st.fixed_dictionaries(
    {key: st.just(PLAIN[key]) | st.sampled_from(others) for key, others in OTHERS.items()}
)


@settings(max_examples=300, deadline=None)
@given(some_options, st.sampled_from(list(OTHERS)), st.data())
def test_runs_that_differ_never_share_a_name(options, key, data):
    other = options | {key: data.draw(st.sampled_from((PLAIN[key], *OTHERS[key])))}
    names = [file_names(manifest_of(one)) for one in (options, other)]
    assert (names[0][0] == names[1][0]) == (matters(options) == matters(other))
    for name in (*names[0], *names[1]):
        assert Path(name).name == name
        assert name.isprintable()
        assert not name.startswith(".")
        assert len(name.removesuffix("npy").encode() + b"json") <= 255


def test_the_published_name_is_that_of_the_published_case():
    assert file_names(manifest_of(PLAIN)) == (
        "gpt2_network=language_pooling=last-token_range=100-100_perc=5.0_nunits=None"
        "_pretrained=True.npy",
        "gpt2_network=language_pooling=last-token_pretrained=True_pvalues.npy",
    )


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"pretrained": False, "init_seed": 2}, "_pretrained=False_seed=2"),
        ({"dtype": "bfloat16", "max_tokens": 20}, "_pretrained=True_dtype=bfloat16_tokens=20"),
        ({"max_tokens": None}, "_tokens=whole"),
        ({"revision": "step1000"}, "_revision=step1000"),
        ({"quantization": "8bit"}, "_quantization=8bit"),
        ({"digest": "ab" * 32}, "_stimuli=abababab"),
        ({"localize_range": "80-90", "seed": 2}, "_draw=2"),
    ],
)
def test_what_differs_is_in_the_name(changes, end):
    assert file_names(manifest_of(PLAIN | changes))[0].removesuffix(".npy").endswith(end)


def test_masks_of_all_options_stand_side_by_side(tmp_path, contrast):
    """Real ones: of the trained model and of random weights, in two precisions, cut and whole."""
    write_inputs(tmp_path, 4)
    name, device = str(tmp_path / "tiny"), "cpu"
    requests = [
        ModelRequest(name, device=device),
        ModelRequest(name, device=device, dtype="bfloat16"),
        *(ModelRequest(name, device=device, pretrained=False, seed=seed) for seed in (42, 2)),
    ]
    written = [
        lsns.localize(
            request, contrast, percentage=10, max_tokens=tokens, cache_dir=tmp_path / "cache"
        ).save(tmp_path / "masks")
        for request in requests
        for tokens in (None, 3)
    ]
    assert len({path.name for paths in written for path in paths}) == 2 * len(written)


def test_other_texts_of_the_same_name_leave_the_earlier_files(tiny_model, contrast, tmp_path):
    other = replace(contrast, positive=words(7, 23, "abcdef"))
    found = [
        lsns.localize(tiny_model, one, percentage=5, cache_dir=tmp_path)
        for one in (contrast, other)
    ]
    first, second = (one.save(tmp_path) for one in found)
    assert not set(first) & set(second)
    assert all("_run=" in path.name for path in second)
    assert [one.save(tmp_path) for one in found] == [first, second]
    for paths, one in zip((first, second), found, strict=True):
        assert np.array_equal(lsns.UnitMask.load(paths[0]).units, one.mask.units)


def test_a_name_from_python_stays_in_the_folder(tiny_model, contrast, tmp_path):
    hostile = replace(contrast, name="../../x" + "y" * 300)
    tiny_model.name = "../../../model" + "z" * 300
    found = lsns.localize(tiny_model, hostile, percentage=5, cache_dir=tmp_path / "in" / "cache")
    mask, _ = found.save(tmp_path / "in" / "masks")
    assert mask.parent == tmp_path / "in" / "masks"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert lsns.UnitMask.load(mask).count == found.mask.count


def test_what_was_found_is_taken_for_its_mask(tiny_model, contrast, tmp_path):
    found = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    with lsns.lesion(tiny_model, found) as attached:
        tiny_model.generate("a", max_new_tokens=2)
    assert attached.mask is found.mask
    drawn = lsns.control_mask(found, seed=1)
    assert drawn.digest == lsns.control_mask(found.mask, seed=1).digest
    pairs = lsns.compare({"found": found, "drawn": drawn}).pairs
    assert (pairs[0].units_first, pairs[0].shared) == (found.mask.count, 0)


def test_what_is_no_mask_no_contrast_and_no_localization_is_told_in_a_line(
    tiny_model, contrast, tmp_path
):
    array = np.ones((3, 16), dtype=bool)
    found = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    calls = [
        (lambda: lsns.lesion(tiny_model, array).__enter__(), "a mask is an lsns.UnitMask"),
        (lambda: lsns.control_mask(array), "found ndarray; use lsns.UnitMask(array)"),
        (lambda: lsns.control_mask("language@1"), "found str"),
        (lambda: lsns.compare([found.mask, found.mask]), "compare takes a mapping"),
        (lambda: lsns.compare({"a": found, "b": array}), "a mask is an lsns.UnitMask"),
        (lambda: lsns.audit(found.mask), "audit examines what lsns.localize found"),
        *((lambda given=given: lsns.localize(tiny_model, given), "a contrast is an lsns.Contrast")
          for given in (None, list(contrast.texts), 7, array)),
    ]  # fmt: skip
    for call, words in calls:
        with pytest.raises(lsns.LsnsError) as caught:
            call()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_table_is_a_contrast(tiny_model, contrast, tmp_path):
    table = {
        "text": contrast.texts,
        "condition": ["positive"] * len(contrast.positive) + ["negative"] * len(contrast.negative),
    }
    found = lsns.localize(tiny_model, table, percentage=10, cache_dir=tmp_path)
    same = lsns.localize(tiny_model, contrast, percentage=10, cache_dir=tmp_path)
    assert found.mask.digest == same.mask.digest
    assert found.manifest["stimuli"]["name"] == "table"
    named = lsns.load_contrast(table, network="theory-of-mind")
    assert (named.name, named.pooling, named.max_tokens) == ("theory-of-mind", "mean", None)
