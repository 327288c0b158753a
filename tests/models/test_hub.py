"""Models and benchmarks from a hub on 127.0.0.1, by the real client in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.architectures import tiny_module
from tests.evaluation.test_blimp import parquet_bytes, rows_of
from tests.hub import Files, Hub, commit_of, serving
from tests.test_guide import lines
from tests.test_guide import pytestmark as with_the_guide
from tests.tiny import make_module, make_tokenizer

GUIDE = {
    "gpt2": "gpt2",
    "gpt2-medium": "gpt2",
    "gpt2-large": "gpt2",
    "meta-llama/Llama-2-7b-hf": "llama",
    "google/gemma-2b": "gemma",
}
SCRIPTS = {"localize.py": "localize", "generate_lesion.py": "lesion"}
# What the commands given as JSON print, their exit codes, and whether they needed torch.
RUN = """
import json, sys
from lsns.cli import run
codes = [run(command) for command in json.loads(sys.argv[1])]
print("codes:", *codes, "torch:", "torch" in sys.modules)
"""
LOCALIZE = ["localize", "--percentage", "5", "--device", "cpu", "--model-name"]


def files_of(module: Any, folder: Path, shard: str = "1GB") -> Files:
    module.save_pretrained(folder, max_shard_size=shard)
    make_tokenizer().save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def small_gpt2() -> Any:
    """With enough units that 1% of them are some."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=4, n_embd=32, n_head=2, vocab_size=300, n_positions=128)
    return GPT2LMHeadModel(config)


class User:
    """Someone with a home and a cache of the hub of their own."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub, self.home = hub, home
        self.cache = home / "hf" / "hub"

    def environment(self, **settings: str) -> dict[str, str]:
        return os.environ | {
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.home / "hf"),
            "XDG_CACHE_HOME": str(self.home / "user"),
            "LOC_CACHE": str(self.home / "results"),
        } | settings  # fmt: skip

    def python(self, code: str, *arguments: str, **settings: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self.environment(**settings), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def run(self, *commands: list[str], **settings: str) -> Any:
        return self.python(RUN, json.dumps(commands), **settings)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture
def user(hub, tmp_path) -> User:
    return User(hub, tmp_path)


@pytest.fixture
def tiny(hub, tmp_path) -> Callable[..., str]:
    """Put a random llama on the hub; its commit."""

    def add(name: str, seed: int = 0, shard: str = "1GB") -> str:
        folder = tmp_path / "made" / f"{seed}-{shard}"
        return hub.add(name, files_of(make_module(seed), folder, shard))

    return add


@with_the_guide
def test_the_guides_models_are_had_once_and_then_need_no_hub(hub, user, tmp_path):
    for name, kind in GUIDE.items():
        module = small_gpt2() if kind == "gpt2" else tiny_module(kind)
        hub.add(name, files_of(module, tmp_path / "made" / name.replace("/", "-")))
    words = [shlex.split(line)[1:] for line in lines() if "--model-name" in line]
    commands = [[SCRIPTS[script], *options] for script, *options in words]
    commands = [c if "--device" in c else [*c, "--device", "cpu"] for c in commands]
    first = user.run(*commands)
    assert first.stdout.splitlines()[-1] == f"codes: {'0 ' * len(commands)}torch: True", first
    assert first.stderr.count("downloading model") == len(GUIDE)
    assert first.stderr.count("downloaded model") == len(GUIDE)
    assert not any("main" in asked for asked in hub.asked if "/resolve/" in asked)
    hub.asked.clear()
    localized = [command for command in commands if command[0] == "localize"]
    again = user.run(*localized)
    assert again.stdout.splitlines()[-1] == f"codes: {'0 ' * len(localized)}torch: False"
    assert hub.asked == []
    # A node without a network: nothing but the hub's cache was carried there.
    away = user.run(*commands, LOC_CACHE=str(tmp_path / "node"), HF_ENDPOINT="http://127.0.0.1:9")
    assert away.stdout.splitlines()[-1] == f"codes: {'0 ' * len(commands)}torch: True", away
    assert hub.asked == []


def test_revisions_are_found_as_they_were_downloaded(hub, user, tiny):
    first, second, third = (tiny("some/tiny", seed) for seed in range(3))
    hub.refs["models/some/tiny"] |= {"v1": first, "feature/x": second}
    load = "import sys, lsns\nfor r in sys.argv[1:]:\n    "
    load += "print(lsns.load_model('some/tiny', device='cpu', revision=r or None).source.revision)"
    commits = {"v1": first, "feature/x": second, "": third, first: first}
    done = user.python(load, *commits)
    assert done.stdout.split() == list(commits.values()), done.stderr
    hub.asked.clear()
    commits |= {third[:7]: third, second[:12].upper(): second, "main": third}
    find = load.replace("lsns\n", "lsns.models.source as source\n", 1)
    find = find.replace("lsns.load_model", "source.resolve_model").replace(", device='cpu'", "")
    find = find.replace(".source.revision", ".revision")
    done = user.python(find + "\nassert 'torch' not in sys.modules", *commits)
    assert done.stdout.split() == list(commits.values()), done.stderr
    assert hub.asked == []
    # As earlier versions left it: no name says which commit is which.
    for ref in sorted((user.cache / "models--some--tiny" / "refs").rglob("*")):
        if ref.is_file():
            ref.unlink()
    os.utime(user.cache / "models--some--tiny" / "snapshots" / second, (2e9, 2e9))
    show = "import lsns.cli\nfor r in [[], ['--revision', 'v1'], ['--revision', 'f' * 9]]:\n"
    show += f"    lsns.cli.run([*{LOCALIZE}, 'some/tiny', *r])"
    done = user.python(show, HF_HUB_OFFLINE="1")
    assert done.stderr.count(f"using {second[:12]}, the newest on this machine") == 1
    assert "gpt2_" not in done.stdout
    for name in ("v1", "fffffffff"):
        assert f"'some/tiny' at revision '{name}' is not on this machine, and the" in done.stderr
    # Online, the hub says what main is, and that is kept.
    assert user.python(load, "").stdout.split() == [third]
    hub.asked.clear()
    assert user.python(find, "").stdout.split() == [third]
    assert hub.asked == []


@pytest.mark.parametrize(
    ("shard", "then", "said"),
    [
        ("1GB", "cut", "the connection was cut (peer closed connection"),
        ("30KB", "refused", "the hub has a fault of its own (503); try again later"),
    ],
)
def test_a_download_that_broke_off_goes_on(hub, user, tiny, shard, then, said):
    tiny("some/tiny", shard=shard)
    files = hub.repositories["models/some/tiny"][commit_of(1)]
    weights = max(name for name in files if name.endswith(".safetensors"))
    hub.cut[weights], hub.then = 5000, then
    done = user.run([*LOCALIZE, "some/tiny"])
    line = done.stderr.splitlines()[-1]
    assert "codes: 2" in done.stdout
    assert line.startswith(f"lsns: the download of model 'some/tiny' broke off: {said}")
    assert "the same command goes on" in line
    ask = "from lsns.models.hub import ModelRepository as Of; Of('some/tiny').ask()"
    offline = user.python(ask, HF_HUB_OFFLINE="1")
    part = f"weights ({weights})" if shard == "30KB" else "weights"
    assert f"'some/tiny' is only in part ({part} missing) on this machine, and" in offline.stderr
    hub.cut.clear()
    hub.asked.clear()
    assert "codes: 0" in user.run([*LOCALIZE, "some/tiny"]).stdout
    assert {a.rpartition("/")[2] for a in hub.asked if a.startswith("GET /some")} == {weights}


def test_a_connection_that_is_cut_once_is_taken_up_again(hub, user, tiny):
    tiny("some/tiny")
    hub.cut["model.safetensors"] = 5000
    hub.then = "had"
    assert "codes: 0" in user.run([*LOCALIZE, "some/tiny"]).stdout
    assert hub.asked.count(f"GET /some/tiny/resolve/{commit_of(1)}/model.safetensors") == 2


def test_two_processes_at_once(user, tiny):
    tiny("some/tiny", shard="30KB")
    command = [sys.executable, "-m", "lsns", *LOCALIZE, "some/tiny"]
    both = [
        subprocess.Popen(
            command, env=user.environment(), text=True, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert "Traceback" not in process.communicate()[1]
        assert process.returncode == 0


def test_untrained_weights_are_not_downloaded(hub, user, tiny):
    tiny("some/tiny")
    assert "codes: 0" in user.run([*LOCALIZE, "some/tiny", "--untrained"]).stdout
    assert not any(".safetensors" in asked for asked in hub.asked)
    assert "codes: 0" in user.run([*LOCALIZE, "some/tiny"]).stdout
    assert any(".safetensors" in asked for asked in hub.asked)


def test_faults_of_the_hub_are_told_apart(hub, user, tiny):
    tiny("some/tiny")
    gated = {"X-Error-Code": "GatedRepo"}
    answers = {
        "g401": ((401, gated), "not let you have it (401: gated, or no valid log-in); ask for"),
        "g403": ((403, gated), "not let you have it (403: gated, or no valid log-in); ask for"),
        "h403": ((403, {}), "not let you have it (403: gated, or no valid log-in); ask for"),
        "m401": ((401, {"X-Error-Code": "RepoNotFound"}), "has none of that name that you may"),
        "busy": ((429, {}), "asked too often from here (429); wait some minutes"),
        "down": ((500, {}), "has a fault of its own (500); try again later"),
        "odd": ((418, {}), "has another answer than expected (418); try"),
    }
    hub.status |= {f"models/{name}": answer for name, (answer, _) in answers.items()}
    llama = b'{"model_type": "llama"}'
    hub.add("empty", {"config.json": llama, "tokenizer.json": b"{}", "model.gguf": b""})
    hub.add("none", {"README.md": b""})
    own = b'{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}'
    hub.add("own", {"config.json": own, "tokenizer.json": b"{}", "model.safetensors": b"large"})
    asked = [*answers, "missing", "empty", "none", "own", "some/tiny"]
    done = user.run(
        *([*LOCALIZE, name] for name in asked[:-1]), [*LOCALIZE, "some/tiny", "--revision", "no"]
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("lsns: ")]
    expected = [words for _, words in answers.values()]
    expected += [
        "has none of that name that you may read; check the name",
        "has no weights that transformers reads",
        "holds no model: the hub has no config.json",
        "allow it with --trust-remote-code",
        "the hub has no such revision of it; branches and tags are listed at http://",
    ]
    assert len(said) == len(expected), done.stderr
    for name, line, words in zip(asked, said, expected, strict=True):
        assert words in line
        assert repr(name) in line
    assert f"codes: {'2 ' * len(said)}torch" in done.stdout
    assert "Traceback" not in done.stderr
    assert not any("own" in asked and "safetensors" in asked for asked in hub.asked)


def test_the_bars_of_a_download_are_for_a_terminal(user, tiny):
    tiny("some/tiny")
    fetch = "import logging; logging.basicConfig(format='%(message)s')\n"
    fetch += "logging.getLogger('lsns').setLevel('INFO')\n"
    fetch += "from lsns.models.hub import ModelRepository\n"
    fetch += "ModelRepository('some/tiny').get()"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    subprocess.run([sys.executable, "-c", fetch], env=user.environment(), stderr=theirs, check=True)
    os.close(theirs)
    assert "%|" in os.read(ours, 1 << 16).decode()
    os.close(ours)
    done = user.python(fetch, HF_HOME=str(user.home / "other"))
    shown = done.stderr.splitlines()
    assert shown[0].startswith(f"downloading model 'some/tiny' at {commit_of(1)[:12]}: 5 files, 7")
    assert shown[1].startswith("downloaded model 'some/tiny' in ")
    assert len(shown) == 2


def test_the_type_of_a_model_is_found_like_the_model(hub, user, tiny):
    tiny("some/tiny")
    show = "from lsns.models.source import model_type; print(model_type('some/tiny'))"
    assert user.python(show).stdout == "llama\n"
    hub.asked.clear()
    assert user.python(show).stdout == "llama\n"
    assert hub.asked == []
    for settings in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert user.python(show, **settings).stdout == "llama\n"
    hub.status["models/some/tiny"] = (500, {})
    assert user.python(show, HF_HOME=str(user.home / "other")).stdout == "None\n"


def test_blimp_comes_once(hub, user):
    from lsns.evaluation.blimp import COMMIT, PARADIGMS

    names = [f"paradigm_{number:02}" for number in range(PARADIGMS)]
    files = {f"{n}/train-00000-of-00001.parquet": parquet_bytes(rows_of(n, 2)) for n in names}
    hub.repositories["datasets/nyu-mll/blimp"] = {COMMIT: files | {"README.md": b"not wanted"}}
    hub.refs["datasets/nyu-mll/blimp"] = {}
    read = "from lsns import LsnsError\nfrom lsns.evaluation.benchmarks import parse_benchmarks\n"
    read += (
        "try:\n    print(parse_benchmarks('blimp')[0].size)\nexcept LsnsError as e:\n    print(e)"
    )
    hub.status["datasets/nyu-mll/blimp"] = (429, {})
    assert "BLiMP" in (busy := user.python(read).stdout)
    assert "asked too often from here (429)" in busy
    hub.status.clear()
    hub.cut["paradigm_66/train-00000-of-00001.parquet"] = 100
    assert "the download of BLiMP broke off: " in user.python(read).stdout
    assert "BLiMP" in (away := user.python(read, HF_HUB_OFFLINE="1").stdout)
    assert "only in part (1 files missing)" in away
    assert "as in blimp:FOLDER" in away
    hub.cut.clear()
    assert user.python(read).stdout == f"{PARADIGMS * 4}\n"
    assert not any("README" in asked for asked in hub.asked)
    hub.asked.clear()
    assert user.python(read, HF_HUB_OFFLINE="1").stdout == f"{PARADIGMS * 4}\n"
    assert hub.asked == []
