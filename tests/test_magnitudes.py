"""Magnitudes over all tokens: against one text at a time, for any batch, and only once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import lsns
from lsns import Contrast
from lsns.audits.outliers import audit_outliers
from lsns.magnitudes import MOST_TEXTS, _sample
from lsns.models.sites import BLOCK_OUTPUT
from tests.tiny import TEXTS, make_model

CONTRAST = Contrast(
    name="tiny", positive=(*TEXTS[:2], TEXTS[0]), negative=tuple(TEXTS[2:]), max_tokens=3
)
PLACES = ("mean", "mean_square", "maximum", "first", "first_square")
LARGE = 3


def find(model, folder, **options):
    return lsns.localize(model, CONTRAST, num_units=4, cache_dir=folder, **options)


def token_by_token(model, texts):
    """Hidden states of all tokens of all texts, (tokens, layers, units), and which are first."""
    rows, firsts = [], []
    for text in texts:
        # The tokenizer's only special token stands in front.
        ids = [0, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
        seen: dict[int, torch.Tensor] = {}
        with torch.inference_mode(), BLOCK_OUTPUT.reading(model.blocks, seen.__setitem__):
            model.model(input_ids=torch.tensor([ids]))
        rows.append(torch.stack([seen[layer][0] for layer in range(len(seen))], dim=1).double())
        firsts += [place == 0 for place in range(len(ids))]
    return torch.cat(rows).numpy(), np.array(firsts)


def with_a_sink(model):
    """The first position alone is large in one unit, as in models with massive activations."""
    with torch.no_grad():
        weight = model.model.get_input_embeddings().weight
        weight[0] = torch.linspace(0.5, 1, weight.shape[1])
        weight[0, LARGE] = 1000
    return model


def test_over_all_tokens_of_whole_texts_behind_the_prefix_of_benchmarks(tmp_path):
    model = with_a_sink(make_model())
    found = find(model, tmp_path).measurement.magnitudes
    x, first = token_by_token(model, sorted(set(CONTRAST.texts)))
    expected = [np.abs(x).mean(0), (x**2).mean(0), np.abs(x).max(0)]
    expected += [np.abs(x[first]).mean(0), (x[first] ** 2).mean(0)]
    for name, values in zip(PLACES, expected, strict=True):
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-4, atol=1e-7, err_msg=name)
    assert found.manifest == {"texts": 4, "of": 4, "tokens": len(x), "prefix": "<eos>"}


def test_the_same_bytes_for_any_batch_size_and_order_of_texts(tmp_path):
    model = make_model()
    turned = Contrast(name="turned", positive=CONTRAST.negative, negative=CONTRAST.positive[::-1])
    founds = [find(model, tmp_path / str(size), batch_size=size) for size in (None, 1, 3)]
    founds.append(lsns.localize(model, turned, num_units=4, cache_dir=tmp_path / "turned"))
    for name in PLACES:
        values = {getattr(f.measurement.magnitudes, name).tobytes() for f in founds}
        assert len(values) == 1, name


def test_of_a_cache_made_before_only_the_new_part_is_measured(tmp_path, monkeypatch):
    model = make_model()
    before = find(model, tmp_path)
    shutil.rmtree(tmp_path / "magnitudes")
    monkeypatch.setattr("lsns.activations._run_batch", lambda *_: pytest.fail("all was measured"))
    again = find(model, tmp_path)
    assert again.mask.digest == before.mask.digest
    for place, sizes in before.sizes.items():
        assert again.sizes[place].tobytes() == sizes.tobytes()


def test_they_are_measured_once_for_all_protocols(tmp_path, monkeypatch):
    model = make_model()
    find(model, tmp_path)
    monkeypatch.setattr("lsns.activations.token_sums", lambda *_: pytest.fail("measured again"))
    find(model, tmp_path, pooling="mean", max_tokens=None)
    assert len([path for path in (tmp_path / "magnitudes").iterdir() if path.is_dir()]) == 1


def test_a_damaged_file_is_said_and_made_again(tmp_path, caplog):
    model = make_model()
    before = find(model, tmp_path)
    (path,) = (tmp_path / "magnitudes").rglob("moments.npz")
    path.write_bytes(path.read_bytes()[:-20])
    again = find(model, tmp_path)
    assert "is damaged; made again" in caplog.text
    assert again.rms.tobytes() == before.rms.tobytes()


def test_a_model_without_a_prefix_is_read_without_one(tmp_path):
    model = make_model()
    model.tokenizer.eos_token = None
    found = find(model, tmp_path).measurement.magnitudes
    assert found.manifest["prefix"] is None
    ids = {model.tokenizer(text)["input_ids"][0] for text in CONTRAST.texts}
    assert len(ids) > 1
    assert (found.first > 0).all()


def test_a_unit_that_is_large_at_the_first_position_alone_is_an_outlier(tmp_path):
    """The localizer never reads that position, and every lesion zeroes it."""
    found = find(with_a_sink(make_model()), tmp_path)
    pooled = found.magnitudes[:, LARGE] > 10 * np.median(found.magnitudes, axis=1)
    assert not pooled.any()
    assert found.outlier_units[:, LARGE].all()
    counts = {one.place: one.model for one in audit_outliers(found.mask.units, found.sizes).places}
    assert counts["pooled"] == 0
    assert counts["first"] == 3
    without = find(with_a_sink(make_model()), tmp_path, exclude_outliers=True)
    assert without.barred is not None
    assert without.barred[:, LARGE].all()
    assert not without.mask.units[:, LARGE].any()


def test_what_localize_says_counts_each_place(tmp_path):
    found = lsns.localize(with_a_sink(make_model()), CONTRAST, percentage=100, cache_dir=tmp_path)
    line = str(found).splitlines()[-1]
    number = int(found.outlier_units.sum())
    assert line.startswith(
        f"outliers  {number} of the selected units (0 where the localizer reads,"
    )
    assert "3 at the first position)" in line


@pytest.mark.parametrize("number", [1, 2, 127, 128, 129, 1000])
def test_a_sample_at_even_distances(number):
    texts = [f"{i:04}" for i in range(number)]
    sample = _sample([*texts[::-1], *texts])
    assert sample == sorted(set(sample))
    assert len(sample) == min(number, MOST_TEXTS)
    gaps = np.diff([int(text) for text in sample])
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
