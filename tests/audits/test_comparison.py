"""Masks compared pair by pair: against sets, and against dimensions permuted one by one."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from lsns import LsnsError, UnitMask, compare
from lsns.audits.comparison import MaskPair

SHAPE = (4, 30)
NAMES = ("language", "theory-of-mind", "other seed")


def draw(rng: np.random.Generator, counts: list[int]) -> UnitMask:
    """Units at random, so many in each layer."""
    units = np.zeros(SHAPE, dtype=bool)
    for row, count in zip(units, counts, strict=True):
        row[rng.permutation(SHAPE[1])[:count]] = True
    return UnitMask(units)


@pytest.fixture(scope="module")
def masks() -> dict[str, UnitMask]:
    rng = np.random.default_rng(0)
    layers = ([2, 0, 9, 14], [4, 1, 12, 13], [10, 8, 1, 0])
    return {name: draw(rng, counts) for name, counts in zip(NAMES, layers, strict=True)}


def units_of(mask: UnitMask) -> set[tuple[int, int]]:
    return set(zip(*(axis.tolist() for axis in np.nonzero(mask.units)), strict=True))


def test_every_pair_in_order(masks):
    found = compare(masks)
    assert [(p.first, p.second) for p in found.pairs] == list(combinations(NAMES, 2))


def test_overlap_and_chance_are_those_of_sets(masks):
    for pair in compare(masks).pairs:
        a, b = units_of(masks[pair.first]), units_of(masks[pair.second])
        assert (pair.units_first, pair.units_second) == (len(a), len(b))
        assert pair.shared == len(a & b)
        assert pair.dice == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
        assert pair.jaccard == pytest.approx(len(a & b) / len(a | b))
        assert pair.expected == pytest.approx(len(a) * len(b) / (SHAPE[0] * SHAPE[1]))


def test_chance_is_what_masks_with_their_dimensions_permuted_share(masks):
    rng = np.random.default_rng(1)
    n = 4000
    for pair in compare(masks).pairs:
        first, second = masks[pair.first], masks[pair.second]
        shared = np.array(
            [
                int((first.units & rng.permutation(second.units, axis=1)).sum())
                for _ in range(n)
            ]
        )  # fmt: skip
        # A mean of n numbers, and a count of n draws.
        error = shared.std() / n**0.5
        assert pair.expected_by_layer == pytest.approx(shared.mean(), abs=3.9 * error)
        low, high = binom.ppf([0.00005, 0.99995], n, pair.p_value)
        assert low <= (shared >= pair.shared).sum() <= high


def test_the_same_mask_and_disjoint_ones(masks):
    mask = masks["language"]
    other = UnitMask(~mask.units)
    same, _, apart = compare({"one": mask, "same": mask, "rest": other}).pairs
    assert (same.shared, same.dice, same.jaccard) == (25, 1, 1)
    assert same.p_value == 1 / 10000
    assert (apart.shared, apart.dice, apart.jaccard) == (0, 0, 0)
    assert apart.p_value == pytest.approx(1)


def test_in_plain_values(masks):
    found = compare(masks)
    made = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [MaskPair(**pair) for pair in made["pairs"]] == list(found.pairs)
    assert made["models"] == dict.fromkeys(NAMES, "not known")


def test_the_table(masks):
    found = compare(masks)
    head, *lines, note = str(found).splitlines()
    assert head.split() == [
        "masks", "units", "shared", "Dice", "Jaccard", "chance", "by", "layer", "p"
    ]  # fmt: skip
    for pair, line in zip(found.pairs, lines, strict=True):
        assert line.startswith(f"{pair.first} and {pair.second} ")
        assert line.split()[-5:] == [
            f"{pair.dice:.3f}", f"{pair.jaccard:.3f}", f"{pair.expected:.1f}",
            f"{pair.expected_by_layer:.1f}", f"{pair.p_value:.2g}",
        ]  # fmt: skip
    assert note == "3 pairs; p is not corrected for their number"
    two = {name: masks[name] for name in NAMES[:2]}
    assert len(str(compare(two)).splitlines()) == 2


def test_models_are_named_where_they_differ(masks):
    units = masks["language"].units
    manifests = [{"model": {"name": "a", "dtype": dtype}} for dtype in ("float32", "bfloat16")]
    one, other = (UnitMask(units, manifest) for manifest in manifests)
    text = str(compare({"x": one, "y": other}))
    assert text.splitlines()[-2:] == ["x: a (float32)", "y: a (bfloat16)"]
    assert "float32" not in str(compare({"x": one, "y": one}))


@pytest.mark.parametrize("names", [[], ["language"]])
def test_fewer_than_two_masks(masks, names):
    with pytest.raises(LsnsError, match=f"^{len(names)} mask.* at least two"):
        compare({name: masks[name] for name in names})


def test_masks_that_cannot_be_compared(masks):
    empty, small = (UnitMask(np.full(shape, shape != SHAPE)) for shape in (SHAPE, (2, 9)))
    with pytest.raises(LsnsError, match=r"^mask none selects no unit"):
        compare(masks | {"none": empty})
    with pytest.raises(LsnsError, match="language has 4 x 30 units, small 2 x 9"):
        compare(masks | {"small": small})


def test_as_a_data_frame_and_in_a_notebook(masks):
    found = compare(masks | {"<b>": masks["language"]})
    frame = found.to_frame()
    assert list(frame["shared"]) == [pair.shared for pair in found.pairs]
    assert list(frame["phi"]) == [pair.phi for pair in found.pairs]
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + 6
    assert "language and &lt;b&gt;" in html
    assert "<b>" not in html
