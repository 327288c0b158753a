"""BLiMP from the hub's own cache layout, and what is said when it is not there."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest

from lsns import LsnsError
from lsns.evaluation import blimp
from lsns.evaluation.benchmarks import parse_benchmark
from lsns.evaluation.minimal_pairs import read_pairs


def parquet_bytes(rows: list[dict[str, object]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def rows_of(paradigm: str, number: int) -> list[dict[str, object]]:
    """As the hub has them: `pair_id` is a number, `UID` the paradigm."""
    return [
        {
            "sentence_good": f"the {paradigm} of item {i}",
            "sentence_bad": f"the the {paradigm} item {i}",
            "UID": paradigm,
            "pair_id": i,
        }
        for i in range(number)
    ]


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """The hub's cache with three paradigms of two pairs; the snapshot's folder."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(blimp, "PARADIGMS", 3)
    root = tmp_path / "hub" / "datasets--nyu-mll--blimp"
    snapshot = root / "snapshots" / blimp.COMMIT
    (root / "blobs").mkdir(parents=True)
    for paradigm in ("agreement", "binding", "islands"):
        content = parquet_bytes(rows_of(paradigm, 2))
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / paradigm).mkdir(parents=True)
        (snapshot / paradigm / "train-00000-of-00001.parquet").symlink_to(blob)
    return snapshot


def test_what_is_cached_is_read_as_the_same_pairs_from_jsonl(cached, tmp_path):
    benchmark = parse_benchmark("blimp")
    assert benchmark.size == 12
    folder = tmp_path / "jsonl"
    folder.mkdir()
    for paradigm in ("agreement", "binding", "islands"):
        lines = [json.dumps({**row, "pairID": str(row["pair_id"])}) for row in rows_of(paradigm, 2)]
        (folder / f"{paradigm}.jsonl").write_text("\n".join(lines))
    assert benchmark.items == read_pairs(folder)
    assert len(parse_benchmark("blimp", limit=1).items) == 3
    assert "agreement" in benchmark.items[0].name


def test_the_digest_is_of_every_file(cached):
    before = parse_benchmark("blimp").digest
    for paradigm in ("agreement", "islands"):
        file = cached / paradigm / "train-00000-of-00001.parquet"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(parquet_bytes(rows_of(paradigm, 3)))
        assert parse_benchmark("blimp").digest != before
        file.write_bytes(content)
        assert parse_benchmark("blimp").digest == before


def test_a_file_cut_short_is_said(cached):
    file = cached / "binding" / "train-00000-of-00001.parquet"
    file.resolve().write_bytes(file.read_bytes()[:-10])
    with pytest.raises(LsnsError, match="is damaged: its SHA-256 is not"):
        parse_benchmark("blimp")


def test_without_the_hub_one_line(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LsnsError, match=r"the hub cannot be reached .*blimp:FOLDER") as raised:
        parse_benchmark("blimp")
    assert "\n" not in str(raised.value)
