"""What is printed: safe, in any encoding, in the terminal's width, at most so often."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lsns
from lsns import terminal
from lsns.cli import run
from lsns.evaluation.study import Study, SummaryRow
from lsns.lesions.continuations import Continuation
from lsns.models.factory import ModelRequest
from lsns.overlap import overlap
from lsns.report.text import describe_continuations
from lsns.store import locked
from tests.tiny import TEXTS, make_model, write_inputs

# To clear the screen and to colour (C0 and C1), to turn the direction round, to begin a line.
HOSTILE = "na\x1b[2Jme\x9b31m\u202e\r\nlsns: forged\x07"
ROW = SummaryRow(
    benchmark=HOSTILE, domain="language", measure="accuracy", items=4, paradigms=2,
    condition="intact", target=HOSTILE, part="all", series=HOSTILE, percentage=1.0, control="",
    seed=None, mode="zero", mask="", whole="", units=5, outlier_units=None, value=0.5, low=0.25,
    high=0.75,
)  # fmt: skip
LESION = {"difference": -0.1, "difference_low": -0.2, "difference_high": 0.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A localization whose model and stimuli have hostile names."""
    model = make_model()
    model.name = HOSTILE
    positive, negative = (
        tuple(f"{text} {i}" for i in range(6) for text in half) for half in (TEXTS[:2], TEXTS[2:])
    )
    contrast = lsns.Contrast("x", positive, negative, source=HOSTILE)
    folder = tmp_path_factory.mktemp("cache")
    return lsns.localize(model, contrast, num_units=9, cache_dir=folder), model


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, 8)
    return folder


def make_study(n_lesions: int = 1) -> Study:
    lesions = [replace(ROW, condition="lesion", target=f"{HOSTILE}{i}", **LESION)
               for i in range(n_lesions)]  # fmt: skip
    about = {"about": HOSTILE, "model": {"name": HOSTILE}, "options": {}}
    return Study([ROW, *lesions], [], [], [], [], [], about)


def check_safe(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)
    assert not any(line.lstrip().startswith("lsns: forged") for line in text.split("\n"))


def results(found, model):
    """Every public result, by its class, with hostile names in it."""
    mask = found.mask
    return {
        "Localization": found,
        "Measurement": found.measurement,
        "UnitMask": mask,
        "Contrast": found.measurement.contrast,
        "Moments": found.measurement.positive,
        "HuggingFaceModel": model,
        "Study": make_study(30),
        "Audit": lsns.audit(found),
        "Comparison": lsns.compare({f"{HOSTILE}{i}": mask for i in range(6)}),
        "Continuation": Continuation(HOSTILE, HOSTILE, mask),
        "ModelRequest": ModelRequest(HOSTILE),
        "Overlap": overlap(mask.units, mask.units),
    }


def test_every_result_prints_in_ten_safe_lines(found):
    for name, result in results(*found).items():
        for text in (str(result), repr(result)):
            assert 1 <= len(text.split("\n")) <= 10, name
            assert len(text) < 1500, name
            check_safe(text)
        assert "\n" not in repr(result)
        assert repr(result).startswith(f"{name}(")
        if hasattr(result, "describe"):
            check_safe(result.describe())
        if name in ("Study", "Audit", "Comparison"):
            check_safe(result.describe(80))
    assert "9 of 48 units" in repr(found[0].mask)
    assert repr(found[0].measurement.positive) == "Moments(12 items, 3 layers x 16 units)"
    assert str(make_study(30)).endswith("... 23 more lines: see describe()")


def test_tables_for_the_command_line_are_safe(found):
    check_safe(found[0].describe())
    check_safe(describe_continuations(HOSTILE, [Continuation(HOSTILE, HOSTILE, None)] * 4))


def test_errors_notes_and_bars_are_safe(capfd):
    check_safe(str(lsns.LsnsError(f"no model {HOSTILE}")))
    assert "\\x1b[2J" in str(lsns.LsnsError(HOSTILE))
    with pytest.raises(lsns.LsnsError) as error:
        lsns.load_contrast(HOSTILE)
    check_safe(str(error.value))
    terminal.say(HOSTILE.replace("\n", " "))
    with terminal.progress(3, words=HOSTILE):
        pass
    handler = terminal._Handler(sys.stderr)
    handler.setFormatter(terminal._Formatter())
    handler.emit(logging.makeLogRecord({"name": "lsns.x", "msg": HOSTILE, "levelno": 30}))
    for text in capfd.readouterr():
        check_safe(text)
        assert "\\x9b31m" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["localize", "--model-name", HOSTILE],
        ["localize", "--model-name", "tiny", "--stimuli", HOSTILE],
        ["localize", "--model-name", "tiny", "--stimuli", "header.csv"],
        ["localize", f"--{HOSTILE}", "1"],
        [HOSTILE],
        ["run", "config.yaml"],
        ["compare", HOSTILE, HOSTILE],
        ["lesion", "--model-name", "tiny", "--stimuli", "mine.csv", "--num-units", "3",
         "--prompt", HOSTILE],
    ],
    ids=str,
)  # fmt: skip
def test_what_the_commands_print_is_safe(inputs, monkeypatch, capfd, arguments):
    monkeypatch.chdir(inputs)
    (inputs / "header.csv").write_text(f"text,{HOSTILE!r}\n\x1b[2J,\x9b\n")
    (inputs / "config.yaml").write_text('"na\\e[2Jme": 1\n')
    run(arguments)
    out, err = capfd.readouterr()
    check_safe(out)
    check_safe(err)
    assert (out + err).strip()


def test_printable_leaves_what_people_write():
    for text in ("plain", "größer 言語 🧠", "a\nb", "no\u00a0break", "می\u200cخواهم"):
        assert terminal.printable(text) == text
    assert terminal.printable("\udce9.csv") == "\\udce9.csv"
    assert terminal.one_line("a\u2028b\x85c\td") == "a b c d"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_any_encoding_prints(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say("   0 ██ 言")
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown == ("   0 ██ 言\n" if encoding == "utf-8" else "   0 ## \\u8a00\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_command_in_a_small_encoding(inputs, encoding):
    done = subprocess.run(
        [sys.executable, "-m", "lsns", "localize", "--model-name", "tiny", "--stimuli", "mine.csv",
         "--num-units", "5"],
        cwd=inputs, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "####" in done.stdout
    assert done.stdout.rstrip().endswith("_units.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", [["config"], ["--help"], ["localize", "--help"]])
def test_a_full_disk_is_one_line(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lsns", *command], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr


def test_a_study_fits():
    assert max(len(line) for line in make_study(3).describe(80).split("\n")[:12]) <= 80


def test_a_terminal_of_80_columns(found):
    """In a real one: results fold between words, and a pipe gets them as they are."""
    code = "from lsns.terminal import say; say('word ' * 40 + 'x' * 90)"
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    subprocess.run([sys.executable, "-c", code], stdout=follower, env=environment, check=True)
    os.close(follower)
    lines = os.read(leader, 4096).decode().split("\r\n")
    assert [len(line) <= 80 for line in lines] == [True, True, True, False, True]
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout.count(b"\n") == 1


def test_progress_in_a_pipe_is_few_lines(capfd, monkeypatch):
    clock = iter(np.arange(0, 1000, 1.0))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.progress(90, words="texts", ready=3) as bar:
        for _ in range(80):
            bar.update()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "texts: 3 of 90"
    assert len(lines) == 1 + 80 // 30
    assert bar.n == 83


def test_quiet_says_nothing_but_the_result(inputs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(inputs)
    own = ["localize", "--model-name", "tiny", "--stimuli", "mine.csv", "--num-units", "4"]
    own += ["--cache-dir", str(tmp_path)]
    assert run([*own, "--quiet", "--overwrite"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.startswith("model     tiny")
    assert run([*own, "--overwrite"]) == 0
    assert capfd.readouterr().err == "texts: 0 of 16\n" * 2
    for command in (["config"], ["demo", "--synthetic"], ["compare", "a", "b"], ["report", "x"]):
        run(["--quiet", *command])
        run([*command, "--quiet"])
        assert "--quiet" not in capfd.readouterr().err
    assert logging.root.manager.disable == logging.NOTSET


def test_who_waits_says_so_at_once(tmp_path, caplog):
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with locked(path, f"the work {HOSTILE}"):
            order.append("waited")

    waiting = threading.Thread(target=wait)
    with locked(path, "the work"):
        assert not caplog.records
        waiting.start()
        end = time.monotonic() + 10
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
        order.append("held")
    waiting.join(10)
    assert order == ["held", "waited"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("another run is at the work na\\x1b[2Jme")
    assert str(path) in record.getMessage()
    check_safe(record.getMessage())


def test_the_help_is_in_groups(capfd):
    assert run(["localize", "--help"]) == 0
    text = capfd.readouterr().out
    groups = ["What is asked", "Stimuli and protocol", "Selection", "Model loading", "Running"]
    places = [text.index(f" {group} ") for group in groups]
    assert places == sorted(places)
    assert text.count("╭") == len(groups)
    asked = text[places[0] : places[1]]
    first = [asked.index(f" {name} ") for name in ("--model-name", "--network", "--percentage")]
    assert first == sorted(first)
    for command in ("lesion", "demo", "evaluate", "audit", "compare", "run", "config", "plot"):
        assert run([command, "--help"]) == 0
        assert "--quiet" in capfd.readouterr().out


def test_a_model_says_that_it_is_lesioned(found):
    model = make_model()
    with lsns.lesion(model, found[0].mask):
        assert "1 active lesions" in repr(model)
        model.generate("the cat", max_new_tokens=1)
    assert repr(replace(found[0].mask, manifest={"stimuli": 3, "model": None})) == (
        "UnitMask(9 of 48 units in 3 layers x 16)"
    )
