"""`lsns verify` reads every byte, and says which file is damaged and what to do."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import lsns.cli
from lsns.models import bundled, source
from lsns.store import write_json
from tests.tiny import make_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path) -> Path:
    tiny = make_model()
    tiny.model.save_pretrained(tmp_path / "tiny")
    tiny.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def flip(file: Path, place: float = 0.5) -> None:
    """Change a bit, and keep size and time of change."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def verify(name: object, capsys) -> tuple[int, list[str], str]:
    """Exit code, what is said of each file, and the error's line."""
    code = lsns.cli.run(["verify", str(name)])
    out, error = capsys.readouterr()
    return code, out.splitlines(), error


def test_a_folder(folder, capsys):
    code, lines, error = verify(folder, capsys)
    assert (code, error) == (0, "")
    assert lines
    assert all("first time" in line for line in lines)
    flip(folder / "model.safetensors")
    # It stays damaged, however often it is read, until it is replaced.
    for _ in range(2):
        code, lines, error = verify(folder, capsys)
        assert code == 2
        assert [line for line in lines if line.startswith("damaged")] == [
            "damaged  model.safetensors (as when it was read before)"
        ]
        assert error.count("\n") == 1
        assert f"copy {folder / 'model.safetensors'} again" in error
    flip(folder / "model.safetensors")
    assert verify(folder, capsys)[0] == 0
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert verify(folder, capsys)[0] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_the_hub_cache_is_checked_against_the_names_of_its_files(folder, tmp_path, capsys, name):
    root = tmp_path / "hub" / "models--someone--tiny"
    for part in ("blobs", f"snapshots/{COMMIT}", "refs"):
        (root / part).mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for file in folder.iterdir():
        content = file.read_bytes()
        as_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        large = file.suffix == ".safetensors"
        blob = root / "blobs" / (hashlib.sha256(content).hexdigest() if large else as_git)
        blob.write_bytes(content)
        (root / "snapshots" / COMMIT / file.name).symlink_to(blob)
    assert (
        source.resolve_model("someone/tiny").identity == source.resolve_model(str(folder)).identity
    )
    assert verify("someone/tiny", capsys)[0] == 0
    blob = (root / "snapshots" / COMMIT / name).resolve()
    flip(blob)
    code, lines, error = verify("someone/tiny", capsys)
    assert code == 2
    assert f"damaged  {name} (as the hub names it)" in lines
    assert f"remove {blob}" in error
    if name == "model.safetensors":
        with pytest.raises(lsns.LsnsError, match=f"damaged.*remove {blob}"):
            _ = source.resolve_model("someone/tiny").identity


def test_the_bundled_model_is_made_again(monkeypatch, capsys):
    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"12345678")
        digests = {"model.safetensors": hashlib.sha256(b"12345678").hexdigest()}
        write_json(folder / bundled.MARK, {"files": digests})

    monkeypatch.setattr(bundled, "_make", make)
    assert verify("smollm2-135m", capsys)[0] == 0
    flip(bundled.place() / "model.safetensors")
    code, lines, error = verify("smollm2-135m", capsys)
    assert (code, lines) == (2, ["damaged  model.safetensors (as it was made)"])
    assert "it has been made again" in error
    assert verify("smollm2-135m", capsys)[0] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("someone/else", "no model"),
        ("/nowhere", "no model"),
        ("two words", "nor a"),
        ("", "no name"),
    ],
)
def test_nothing_to_verify_is_one_line(name, words, capsys):
    code, lines, error = verify(name, capsys)
    assert (code, lines, error.count("\n")) == (2, [], 1)
    assert words in error
