"""What a model's name stands for, without loading it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import lsns
from lsns.models.hub import ModelRepository
from lsns.models.source import resolve_model
from tests.tiny import make_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def user_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "my-model"
    tiny = make_model()
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def hub_cache(tmp_path, folder, monkeypatch) -> Path:
    """The hub's own cache layout, with one snapshot of `someone/tiny`."""
    import huggingface_hub.constants as constants

    root = tmp_path / "hub"
    snapshot = root / "models--someone--tiny" / "snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    refs = root / "models--someone--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return root


def test_a_folder_is_known_by_its_content(user_cache, folder):
    source = resolve_model(str(folder))
    assert (source.kind, source.label) == ("folder", "my-model")
    assert resolve_model(str(folder)).identity == source.identity
    copy = folder.with_name("copy")
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert resolve_model(str(copy)).identity == source.identity
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert resolve_model(str(copy)).identity != source.identity


def test_a_changed_tokenizer_is_another_identity(user_cache, folder):
    before = resolve_model(str(folder)).identity
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace("{", '{"note": 1,', 1))
    assert resolve_model(str(folder)).identity != before


def test_the_folders_of_the_current_directory(user_cache, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert resolve_model(".").label == "my-model"


def test_a_hub_model_in_the_local_cache_needs_no_hub(user_cache, hub_cache):
    source = resolve_model("someone/tiny")
    assert (source.kind, source.label) == ("hub", "tiny")
    assert source.revision == COMMIT
    assert ModelRepository("someone/tiny", "main").here().name == COMMIT
    model = lsns.load_model("someone/tiny", device="cpu")
    assert model.shape == (3, 16)
    assert model.label == "tiny"
    assert model.identity == source.identity
    assert model.generate("the cat", max_new_tokens=2)


def test_a_hub_model_is_localized_from_the_local_cache(user_cache, hub_cache, tmp_path):
    first = lsns.localize("someone/tiny", "language", percentage=5, cache_dir=tmp_path / "cache")
    model = first.manifest["model"]
    assert (model["revision"], model["commit"]) == (None, COMMIT)
    assert first.save(tmp_path / "cache")[0].name.startswith("tiny_network=language_")


def test_another_revision_is_not_the_cached_one(user_cache, hub_cache):
    assert resolve_model("someone/tiny", revision="other").identity is None
    assert resolve_model("someone/tiny", revision=COMMIT).identity is not None
    with pytest.raises(lsns.LsnsError, match="the hub cannot be reached"):
        lsns.load_model("someone/tiny", revision="other")


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_folder_and_the_hub_cache_share_one_identity(user_cache, hub_cache, tmp_path, pretrained):
    """A clone of the repository also holds what loading does not read."""
    clone = tmp_path / "clone"
    shutil.copytree(hub_cache / "models--someone--tiny" / "snapshots" / COMMIT, clone)
    (clone / "README.md").write_text("about")
    (clone / "pytorch_model.bin").write_bytes(b"the weights in another format")
    on_hub = resolve_model("someone/tiny", pretrained=pretrained).identity
    assert on_hub == resolve_model(str(clone), pretrained=pretrained).identity
    assert on_hub == lsns.load_model(str(clone), pretrained=pretrained, device="cpu").identity
    (clone / "model.safetensors").unlink()
    assert (resolve_model(str(clone), pretrained=pretrained).identity == on_hub) != pretrained


def test_a_hub_model_without_its_weights_is_not_known_yet(user_cache, hub_cache):
    next(hub_cache.rglob("model.safetensors")).unlink()
    assert resolve_model("someone/tiny").identity is None
    assert resolve_model("someone/tiny", pretrained=False).identity is not None


def test_the_shards_that_an_index_names_are_the_weights(user_cache, folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = resolve_model(str(folder)).identity
    (folder / "model-2.safetensors").write_bytes(b"of an earlier save")
    assert resolve_model(str(folder)).identity == before
    (folder / "model-1.safetensors").write_bytes(b"other")
    assert resolve_model(str(folder)).identity != before


def test_code_that_is_run_is_a_part_of_the_identity(user_cache, folder):
    config = folder / "config.json"
    plain = config.read_text()
    for code, known in (("own.Model", True), ("someone/else--own.Model", False)):
        config.write_text(plain.replace("{", f'{{"auto_map": {{"AutoModel": "{code}"}},', 1))
        left = resolve_model(str(folder)).identity
        run = resolve_model(str(folder), trust_remote_code=True).identity
        assert left is not None
        assert left != run
        assert (run is not None) == known


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nothing", "no such file or folder"),
        ("/nothing/at/all", "no such file or folder"),
        ("nothing.gguf", "no such file or folder"),
        ("two words", "nor a possible hub id"),
        ("a/b/c", "nor a possible hub id"),
        ("", "has no name"),
    ],
)
def test_names_that_stand_for_nothing(user_cache, name, message):
    with pytest.raises(lsns.LsnsError, match=message):
        resolve_model(name)


def test_a_folder_without_a_model(user_cache, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(lsns.LsnsError, match=r"no config\.json"):
        resolve_model(str(tmp_path / "empty"))


def test_damaged_weights_are_one_line(user_cache, folder):
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(lsns.LsnsError, match="could not be loaded") as caught:
        lsns.load_model(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
