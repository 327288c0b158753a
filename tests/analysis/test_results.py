"""Results survive the round trip, and nothing is pickled."""

from __future__ import annotations

import numpy as np
import pytest

import lsns
from lsns.analysis import NMDAnalyzer, TTestAnalyzer
from lsns.analysis.results import load_results, save_results


@pytest.mark.parametrize("analyzer", [TTestAnalyzer({"percentage": 10}), NMDAnalyzer()])
def test_round_trip_of_a_real_analysis(analyzer, tmp_path):
    rng = np.random.RandomState(0)
    mask, metadata = analyzer.analyze(rng.randn(8, 2, 400), rng.randn(9, 2, 400))
    path = analyzer.save_results(mask, metadata, tmp_path / "r.npz")
    loaded, details = analyzer.load_results(path)
    assert np.array_equal(loaded, mask)
    assert set(details) == set(metadata)
    for key, value in metadata.items():
        if isinstance(value, np.ndarray):
            assert details[key].dtype == value.dtype
            assert np.array_equal(details[key], value)
        else:
            assert details[key] == value
    with np.load(path, allow_pickle=False) as archive:
        assert all(not archive[name].dtype.hasobject for name in archive.files)


def test_nested_metadata(tmp_path):
    metadata = {
        "none": None,
        "text": "naïve 漢字",
        "list": [1, 2.5, {"deep": np.arange(3)}],
        "numpy": np.float64(0.25),
        "empty": np.zeros((0, 2)),
    }
    save_results(tmp_path / "r.npz", np.ones((2, 2), dtype=bool), metadata)
    _, loaded = load_results(tmp_path / "r.npz")
    assert loaded["none"] is None
    assert loaded["text"] == "naïve 漢字"
    assert np.array_equal(loaded["list"][2]["deep"], np.arange(3))
    assert loaded["numpy"] == 0.25
    assert loaded["empty"].shape == (0, 2)


def test_what_cannot_be_saved_or_read(tmp_path):
    mask = np.ones((1, 1))
    with pytest.raises(lsns.LsnsError, match=r"ends in \.npz"):
        save_results(tmp_path / "r.npy", mask, {})
    for value in (object(), np.array([object()]), {1, 2}):
        with pytest.raises(lsns.LsnsError, match="cannot be saved"):
            save_results(tmp_path / "r.npz", mask, {"x": value})
    assert not list(tmp_path.iterdir())
    (tmp_path / "cut.npz").write_bytes(b"PK")
    np.savez(tmp_path / "other.npz", x=mask)
    for name in ("cut.npz", "other.npz", "nothing.npz"):
        with pytest.raises(lsns.LsnsError, match="holds no results"):
            load_results(tmp_path / name)
