"""The commands as their user types them, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lsns.cli import run
from lsns.config import ExperimentConfig
from tests.conftest import REPOSITORY, start_interruptible
from tests.tiny import make_model, write_inputs

NAME = "model_network=language_pooling=last-token_range=100-100_perc={}_nunits=None_pretrained=True"
P_NAME = "model_network=language_pooling=last-token_pretrained=True_pvalues.npy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model as a local folder."""
    path = tmp_path_factory.mktemp("models") / "model"
    tiny = make_model()
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


def script(name: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def one_line(error: str) -> str:
    """The one line that an error is, after the progress bar if there was one."""
    lines = [line for line in error.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("texts: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("lsns: ")
    assert "Traceback" not in error
    return lines[0]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guides_four_steps(folder, tmp_path):
    model = ("--model-name", folder, "--device", "cpu")
    first = script(
        "localize.py", *model, "--percentage", "5.0", "--network", "language",
        "--pooling", "last-token", cwd=tmp_path,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    for said in ("3 blocks x 16 = 48", "240 positive, 240 negative", "2 units: 5%", "weakest"):
        assert said in first.stdout
    mask = np.load(tmp_path / "cache" / f"{NAME.format(5.0)}.npy", allow_pickle=False)
    assert mask.dtype.kind == "i"
    assert mask.sum() == 2
    assert np.load(tmp_path / "cache" / P_NAME, allow_pickle=False).shape == (3, 16)
    assert (tmp_path / "cache" / f"{NAME.format(5.0)}.json").exists()
    stamp = activations_stamp(tmp_path)
    prompt = ("--prompt", "The quick brown fox", "--percentage", "10.0")
    texts = {}
    for network in ("language", "none", "random"):
        done = script("generate_lesion.py", *model, *prompt, "--network", network, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "texts:" not in done.stderr
        texts[network] = done.stdout
    # The stimuli were not run again.
    assert activations_stamp(tmp_path) == stamp
    assert "intact" in texts["none"]
    assert "4 of 48 units zeroed" in texts["language"]
    assert "random control for language (uniform, seed 42)" in texts["random"]


def activations_stamp(folder: Path) -> list[tuple[str, int]]:
    files = sorted(folder.glob("cache/activations/*/activations.npy"))
    return [(str(path), path.stat().st_mtime_ns) for path in files]


def test_a_lesion_with_nothing_cached_localizes_first(folder, tmp_path):
    done = script(
        "generate_lesion.py", "--model-name", folder, "--prompt", "the cat", "--percentage", "5",
        "--network", "language", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "texts:" in done.stderr
    assert len(activations_stamp(tmp_path)) == 1


def test_the_command_and_the_script_are_the_same_code(folder, tmp_path):
    arguments = ["--model-name", str(folder), "--percentage", "5"]
    by_script = script("localize.py", *arguments, cwd=tmp_path)
    command = [str(Path(sys.executable).with_name("lsns")), "localize", *arguments]
    by_command = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert by_script.stdout == by_command.stdout


@pytest.mark.parametrize("control", ["uniform", "layer", "magnitude", "outliers"])
@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_conditions_side_by_side(folder, here, capsys, control, mode):
    code = run(
        ["lesion", "--model-name", str(folder), "--prompt", "the cat", "--percentage", "20",
         "--network", "none", "language", "random", "--control", control, "--mode", mode]
    )  # fmt: skip
    assert code == 0
    out = capsys.readouterr().out
    for said in ("intact", "language: 9 of 48", control):
        assert said in out


def test_results_go_where_loc_cache_says(folder, here, monkeypatch):
    monkeypatch.setenv("LOC_CACHE", str(here / "elsewhere"))
    assert run(["localize", "--model-name", str(folder), "--percentage", "5"]) == 0
    assert (here / "elsewhere" / P_NAME).exists()
    assert (
        run(["localize", "--model-name", str(folder), "--cache-dir", "third", "--percentage", "5"])
        == 0
    )
    assert (here / "third" / P_NAME).exists()


def test_a_contrast_of_ones_own(folder, here, capsys):
    rows = [f"the cat number {i} sat down,positive,{i}" for i in range(6)]
    rows += [f"{i * 77} + {i} =,negative,{i}" for i in range(6)]
    (here / "mine.csv").write_text("\n".join(["text,condition,group", *rows]))
    own = ["--stimuli", "mine.csv", "--model-name", str(folder), "--num-units", "3"]
    assert run(["localize", *own]) == 0
    out = capsys.readouterr().out
    assert "mine: 6 positive, 6 negative" in out
    assert list(here.glob("cache/model_network=mine_*nunits=3*.npy"))
    assert run(["lesion", *own, "--prompt", "the cat"]) == 0
    assert "mine: 3 of 48 units zeroed" in capsys.readouterr().out


def test_untrained_and_other_methods_do_not_overwrite(folder, here):
    base = ["localize", "--model-name", str(folder), "--percentage", "10"]
    for extra in ([], ["--untrained"], ["--method", "nmd"], ["--per-layer"]):
        assert run([*base, *extra]) == 0
    assert len(list(here.glob("cache/*_pvalues.npy"))) == 4


def test_without_outliers_units_files_and_controls_are_others(folder, here, capsys):
    own = ["--model-name", str(folder), "--percentage", "20", "--outlier-threshold", "1.1"]
    assert run(["localize", *own]) == 0
    assert run(["localize", *own, "--exclude-outliers"]) == 0
    usual, without = capsys.readouterr().out.split("model     ")[1:]
    assert "(over 1.1 times the layer's median): a lesion may show these" in usual
    assert "outliers  none selected: all " in without
    assert "are excluded (mean |activation| over 1.1 times the layer's median)" in without
    assert "9 units: 20% over all layers" in without
    assert len(list(here.glob("cache/*_perc=20.0_*excludeoutliers=1.1.npy"))) == 1
    assert len(list(here.glob("cache/*_perc=20.0_*.npy"))) == 2
    prompt = ["--prompt", "the cat", "--network", "language", "random"]
    assert run(["lesion", *own, *prompt, "--exclude-outliers"]) == 0
    assert "language: 9 of 48" in capsys.readouterr().out


BAD = [
    (["--percentage", "0"], "--percentage wants a number above 0 and at most 100; found 0.0"),
    (["--percentage", "-1"], "found -1.0"),
    (["--percentage", "101"], "found 101.0"),
    (["--percentage", "nan"], "found nan"),
    (["--percentage", "ten"], "percentage"),
    (["--percentage", "1", "--num-units", "5"], "not both"),
    (["--num-units", "100"], "between 1 and 48"),
    (["--localize-range", "90-80"], "--localize-range wants 100-100, 0-0 or START-END"),
    (["--localize-range", "99-100", "--percentage", "50"], "widen the range"),
    (["--outlier-threshold", "0"], "--outlier-threshold wants a number above 0; found 0.0"),
    (
        ["--percentage", "5", "--exclude-outliers", "--outlier-threshold", "0.01"],
        "may be selected (48 are excluded); ask for fewer",
    ),
    (["--device", "cuda:9"], "device 'cuda:9' is not there; found: cpu"),
    (
        ["--device", "toaster"],
        "--device wants auto, cpu, cuda, mps or cuda:N; found the",
    ),
    (["--stimuli", "nowhere"], "no stimuli 'nowhere'"),
    (["--stimuli", "empty.csv"], "empty.csv needs columns text, condition"),
    (["--stimuli", "header.csv"], "header.csv holds no stimuli"),
    (["--stimuli", "one.csv"], "1 positive texts; a contrast needs at least 2"),
    (["--stimuli", "onesided.csv"], "0 negative texts; a contrast needs at least 2"),
    (["--stimuli", "malformed.jsonl"], "malformed.jsonl, line 2: not JSON"),
    (["--stimuli", "latin.csv"], "latin.csv is not UTF-8"),
    (["--stimuli", "emptytext.csv"], "emptytext.csv, line 5: the text is empty"),
    (["--stimuli", "folder"], "folder holds no .csv files"),
    (["--cache-dir", "empty.csv/x"], "cannot be written"),
    (["--blocks", "model.nowhere"], "no list of blocks at 'model.nowhere'"),
    (["--threads", "0"], "--threads wants a whole number, 1 to"),
    (["--percntage", "5"], "Did you mean --percentage?"),
    (["--method", "magic"], "--method wants one of ttest"),
    (["--model-name", "./nowhere"], "no such file or folder"),
    (["--model-name", "not a name"], "nor a possible hub id"),
    (["--model-name", "folder"], "no config.json in it"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_what_a_user_can_do_wrong_is_one_line(folder, here, capsys, arguments, message):
    (here / "empty.csv").write_text("")
    (here / "header.csv").write_text("text,condition\n")
    (here / "one.csv").write_text("text,condition\nthe cat,positive\n")
    (here / "onesided.csv").write_text("text,condition\n" + "the cat,positive\n" * 3)
    (here / "malformed.jsonl").write_text('{"text": "a", "condition": "positive"}\n{"text": \n')
    (here / "latin.csv").write_bytes("text,condition\ncaf\xe9,positive\n".encode("latin-1"))
    (here / "emptytext.csv").write_text(
        "text,condition\na,positive\nb,positive\nc,negative\n,negative\n"
    )
    (here / "folder").mkdir()
    if "--model-name" not in arguments:
        arguments = ["--model-name", str(folder), *arguments]
    assert run(["localize", *arguments]) == 2
    assert message in one_line(capsys.readouterr().err)


# A byte that is no UTF-8, as Python has it in `sys.argv`.
HALF = "\udcff"
UNITS = ["--model-name", "tiny", "--device", "cpu", "--num-units", "3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["localize", "--model-name", HALF], "--model-name wants a name; found the text '\\udcff'"),
        (
            ["localize", *UNITS, "--stimuli", f"x{HALF}.csv"],
            "found the text 'x\\udcff.csv'",
        ),
        (["lesion", *UNITS, "--stimuli", "mine.csv", "--prompt", HALF], "the prompt '\\udcff'"),
        (["evaluate", *UNITS, "--mask", HALF], "no mask '\\udcff'"),
        (["evaluate", *UNITS, "--limit", "1", "-o", HALF], "'\\udcff' is no UTF-8 text, which"),
        (["report", HALF], "is not there"),
        (["run", HALF], "cannot be read"),
        ([HALF], "Unknown command"),
    ],
)
def test_an_argument_that_is_no_text_is_one_line(here, arguments, message):
    write_inputs(here, 6)
    Path(f"x{HALF}.csv").write_bytes(Path("mine.csv").read_bytes())
    command = [sys.executable, "-m", "lsns", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lsns: ")
    assert message in last


def test_a_configuration_of_such_a_name_is_read(here):
    Path(f"x{HALF}.yaml").write_text("model: {name: tiny, dtype: float16}")
    assert ExperimentConfig.from_yaml(f"x{HALF}.yaml").model.dtype == "float16"


def test_no_command_a_wrong_command_and_a_missing_option(capsys):
    assert run(["localise"]) == 2
    assert "Did you mean" in one_line(capsys.readouterr().err)
    assert run(["localize"]) == 2
    assert "--model-name" in one_line(capsys.readouterr().err)
    assert run([]) == 0
    assert "localize" in capsys.readouterr().out


def test_a_model_that_is_not_here_and_no_hub(here, monkeypatch):
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(here / "hub")}
    command = [sys.executable, "-m", "lsns", "localize", "--model-name", "some/model"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "the hub cannot be reached" in one_line(done.stderr)
    assert "smollm2-135m" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_done(langloc, tmp_path, number):
    command = [sys.executable, "-m", "lsns", "localize", "--model-name", "smollm2-135m"]
    command += ["--stimuli", str(langloc), "--cache-dir", str(tmp_path), "--device", "cpu"]
    process = start_interruptible(command)
    for _ in range(1200):
        if list(tmp_path.rglob("*.part")):
            break
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    last = error.splitlines()[-1]
    assert last.startswith("lsns: interrupted: ")
    assert "of 480 texts are kept in" in last
    assert "Traceback" not in error


def test_a_reader_that_goes_away_is_no_error(folder, tmp_path):
    command = f"{sys.executable} -m lsns localize --model-name {folder} --num-units 3 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("model")


def test_two_runs_at_once(folder, tmp_path):
    command = [sys.executable, "-m", "lsns", "localize", "--model-name", str(folder)]
    command += ["--num-units", "3"]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    assert outputs[0] == outputs[1]


def test_fetch_refuses_a_folder_it_cannot_write(here, capsys):
    (here / "file").write_text("")
    assert run(["stimuli", "fetch", "langloc", "-o", "file/x"]) == 2
    assert "cannot be written" in one_line(capsys.readouterr().err)
