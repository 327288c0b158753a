"""Masks: files that any numpy reads, and that are not believed when they were changed."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsns.errors import LsnsError
from lsns.lesions.controls import control_mask
from lsns.mask import UnitMask

UNITS = np.random.default_rng(0).random((3, 7)) < 0.4
MANIFEST = {"method": "ttest", "model": {"name": "gpt2", "größe": 1}, "percentage": 1.0}
bools = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 9)))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return UnitMask(UNITS, MANIFEST).save(tmp_path / "mask.npy")


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_round_trip(saved: Path) -> None:
    found = UnitMask.load(saved)
    np.testing.assert_array_equal(found.units, UNITS)
    assert found.units.dtype == bool
    assert {name: found.manifest[name] for name in MANIFEST} == MANIFEST


def test_the_file_is_int64_that_any_numpy_reads(saved: Path) -> None:
    array = np.load(saved, allow_pickle=False)
    assert array.dtype == np.int64
    np.testing.assert_array_equal(array, UNITS)


def test_the_manifest_lies_beside_it_as_json(saved: Path) -> None:
    content = json.loads(saved.with_suffix(".json").read_text(encoding="utf-8"))
    assert content["model"] == MANIFEST["model"]
    assert content["file"]["name"] == "mask.npy"
    assert sorted(path.name for path in saved.parent.iterdir()) == ["mask.json", "mask.npy"]


def test_paths_may_be_text_and_folders_are_made(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b_perc=0.5_nunits=None.npy")
    UnitMask(UNITS).save(path)
    assert UnitMask.load(path).count == UNITS.sum()


def test_the_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    first = UnitMask(UNITS, MANIFEST).save(tmp_path / "1" / "mask.npy")
    turned = dict(reversed(MANIFEST.items()))
    second = UnitMask(UNITS.copy(), turned).save(tmp_path / "2" / "mask.npy")
    assert first.read_bytes() == second.read_bytes()
    manifests = [path.with_suffix(".json").read_bytes() for path in (first, second)]
    assert manifests[0] == manifests[1]


def test_saving_a_loaded_mask_changes_no_byte(saved: Path) -> None:
    before = saved.read_bytes(), saved.with_suffix(".json").read_bytes()
    UnitMask.load(saved).save(saved)
    assert (saved.read_bytes(), saved.with_suffix(".json").read_bytes()) == before


def test_saving_again_replaces_both_files(saved: Path) -> None:
    UnitMask(~UNITS, {"method": "nmd"}).save(saved)
    found = UnitMask.load(saved)
    np.testing.assert_array_equal(found.units, ~UNITS)
    assert found.manifest["method"] == "nmd"
    assert "model" not in found.manifest


def test_a_mask_without_a_manifest_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "published.npy", UNITS.astype(np.int64))
    found = UnitMask.load(tmp_path / "published.npy")
    np.testing.assert_array_equal(found.units, UNITS)
    assert found.manifest == {}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, ">i4"])
def test_other_integers_are_read(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "mask.npy", UNITS.astype(dtype))
    np.testing.assert_array_equal(UnitMask.load(tmp_path / "mask.npy").units, UNITS)


def test_counts() -> None:
    mask = UnitMask(np.array([[True, False, True], [False, False, False]]))
    assert mask.count == 2
    assert mask.per_layer.tolist() == [2, 0]


@settings(max_examples=60, deadline=None)
@given(bools, bools)
def test_digests_are_equal_for_equal_masks_only(a: np.ndarray, b: np.ndarray) -> None:
    same = a.shape == b.shape and bool((a == b).all())
    assert (UnitMask(a).digest == UnitMask(b).digest) == same


def test_the_digest_is_that_of_the_units_alone(saved: Path) -> None:
    digests = {UnitMask(UNITS).digest, UnitMask.load(saved).digest}
    digests.add(UnitMask(np.asfortranarray(UNITS), {"other": 1}).digest)
    assert len(digests) == 1
    # The same bits in another shape, and bits beyond the last full byte.
    assert UnitMask(UNITS.reshape(7, 3)).digest not in digests
    last = UNITS.copy()
    last[-1, -1] ^= True
    assert UnitMask(last).digest not in digests


@pytest.mark.parametrize("as_type", [np.int64, np.float64])
def test_units_that_are_not_bool_are_read_as_such_or_refused(as_type: Any) -> None:
    # As from `np.load` of a published mask: ~1 is -2, which is true.
    try:
        mask = UnitMask(UNITS.astype(as_type))
    except LsnsError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert mask.digest == UnitMask(UNITS).digest
    for seed in range(10):
        assert not (control_mask(mask, seed=seed).units.astype(bool) & UNITS).any()


# Files that are not to be believed.


def other_units(path: Path) -> None:
    np.save(path, (~UNITS).astype(np.int64))


def flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def appended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("tamper", [other_units, flipped_bit, truncated, appended])
def test_changed_bytes_are_noticed(saved: Path, tamper: Callable[[Path], None]) -> None:
    tamper(saved)
    message = refusal(lambda: UnitMask.load(saved))
    assert f"{saved} is not the file that its manifest describes" in message


def test_a_file_cut_short_is_noticed_without_a_manifest(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    content = saved.read_bytes()
    for length in (0, 1, 6, 64, 127, 128, len(content) - 1):
        saved.write_bytes(content[:length])
        assert f"{saved} is not a readable .npy array" in refusal(lambda: UnitMask.load(saved))


def test_a_damaged_header_is_noticed_without_a_manifest(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    content = saved.read_bytes()
    for position in (0, 6, 8, 9, 10, 21, 40, 60):
        damaged = bytearray(content)
        damaged[position] = ord(",")
        saved.write_bytes(damaged)
        assert str(saved) in refusal(lambda: UnitMask.load(saved))


@pytest.mark.parametrize(
    "array",
    [
        UNITS.astype(np.float64),
        UNITS.astype(np.int64) * 2,
        -UNITS.astype(np.int64),
        UNITS[0].astype(np.int64),
        UNITS[None].astype(np.int64),
        UNITS.astype("<U1"),
        UNITS.astype(complex),
    ],
    ids=["floats", "twos", "negative", "one axis", "three axes", "text", "complex"],
)
def test_arrays_that_are_no_masks_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, array)
    message = refusal(lambda: UnitMask.load(path))
    assert f"{path} is no mask" in message
    assert f"found {array.dtype} of shape {array.shape}" in message


class Bomb:
    """Unpickling it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    plain, inside = tmp_path / "plain.npy", tmp_path / "inside.npy"
    plain.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    np.save(inside, np.array([[Bomb(tmp_path / "trace")]], dtype=object), allow_pickle=True)
    for path in (plain, inside):
        assert f"{path} is not a readable .npy array" in refusal(
            lambda path=path: UnitMask.load(path)
        )
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not an array", b"PK\x03\x04 not an archive", b"\x93NUMPY"]
)
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mask.npy"
    path.write_bytes(content)
    assert str(path) in refusal(lambda: UnitMask.load(path))


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    np.savez(path, mask=UNITS.astype(np.int64))
    assert str(path) in refusal(lambda: UnitMask.load(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npy", tmp_path):
        assert refusal(lambda path=path: UnitMask.load(path)) == f"no file {path}"


@pytest.mark.parametrize("content", ['{"file": "mask.npy"}', '{"file": null}', "[1]", "{"])
def test_a_json_of_someone_else_beside_it_is_no_manifest(tmp_path: Path, content: str) -> None:
    np.save(tmp_path / "mask.npy", UNITS.astype(np.int64))
    (tmp_path / "mask.json").write_text(content)
    np.testing.assert_array_equal(UnitMask.load(tmp_path / "mask.npy").units, UNITS)


@pytest.mark.parametrize("change", [{"selection": [1]}, {"model": {"name": 3}}, {"protocol": "x"}])
def test_a_manifest_of_other_types_is_one_line(saved: Path, change: dict) -> None:
    beside = saved.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    assert f"{beside} is damaged" in refusal(lambda: UnitMask.load(saved))


# Saving.


def test_a_failed_save_leaves_the_earlier_mask(saved: Path) -> None:
    with pytest.raises((TypeError, LsnsError)):
        UnitMask(~UNITS, {"not for JSON": object()}).save(saved)
    found = UnitMask.load(saved)
    np.testing.assert_array_equal(found.units, UNITS)
    assert found.manifest["method"] == "ttest"


def test_a_manifest_may_hold_numbers_of_numpy(tmp_path: Path) -> None:
    # As from `localize(num_units=np.int64(5))`.
    path = UnitMask(UNITS, {"num_units": np.int64(5)}).save(tmp_path / "mask.npy")
    assert UnitMask.load(path).manifest["num_units"] == 5


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "mask.npy"
    assert str(path) in refusal(lambda: UnitMask(UNITS).save(path))


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    path.mkdir()
    assert str(path) in refusal(lambda: UnitMask(UNITS).save(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("names", [("perc=0.25", "perc=0.5"), ("a.json", "b.npy")])
def test_a_manifest_never_overwrites_another_file(tmp_path: Path, names: tuple[str, str]) -> None:
    """Whatever a mask is called: what was saved is read again, or was refused."""
    saved = {}
    for name in names:
        try:
            saved[name] = UnitMask(UNITS, {"of": name}).save(tmp_path / name)
        except LsnsError as error:
            assert name in str(error)  # noqa: PT017
    for name, path in saved.items():
        found = UnitMask.load(path)
        np.testing.assert_array_equal(found.units, UNITS)
        assert found.manifest["of"] == name
