"""Signals: one line and the usual exit code, at any time, whoever started the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsns.interrupts import Interruptible
from tests.conftest import start_interruptible
from tests.tiny import write_inputs

BOTH = (signal.SIGINT, signal.SIGTERM)
# Started as the console script starts it.
SCRIPT = "import sys; sys.argv[0] = 'lsns'; from lsns.__main__ import main; main()"
# Says when the module that handles signals has done so.
MOMENT = """
import sys
from lsns import interrupts
real = interrupts.leave_at_once
def leave_at_once():
    real()
    print("ready", flush=True)
interrupts.leave_at_once = leave_at_once
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, 8)
    return folder


def localize(inputs: Path, code: str = SCRIPT) -> list[str]:
    options = ["localize", "--model-name", str(inputs / "tiny"), "--num-units", "3"]
    options += ["--stimuli", str(inputs / "mine.csv"), "--cache-dir", str(inputs / "cache")]
    return [sys.executable, "-c", code, *options, "--overwrite"]


def check_end(process: subprocess.Popen[str], number: int) -> str:
    _, error = process.communicate(timeout=60)
    lines = [line for line in error.splitlines() if not line.startswith("texts: ")]
    assert process.returncode == 128 + number, error
    assert len(lines) == 1, error
    assert lines[0].startswith("lsns: interrupted")
    return lines[0]


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 1.0])
def test_at_any_time(inputs, number, delay):
    process = start_interruptible(localize(inputs, MOMENT + SCRIPT))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(number)
    check_end(process, number)


def test_the_import_that_handles_signals_is_light():
    code = "import sys; before = set(sys.modules); import lsns.interrupts;"
    code += "print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"typing", "logging", "re", "cyclopts", "numpy"} & set(done.stdout.split())


def test_where_the_parent_ignores_ctrl_c_sigterm_works(inputs):
    """A job in the background: Ctrl-C in its terminal is not meant for it."""
    waiting = "; import time; open(sys.argv[1], 'w').close(); time.sleep(60)"
    mark = inputs / "mark"
    code = "import sys; from lsns.interrupts import leave_at_once; leave_at_once()" + waiting
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code, str(mark)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not mark.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    check_end(process, signal.SIGTERM)


@pytest.mark.parametrize("number", BOTH)
def test_handlers_are_put_back(number):
    def own(*_: object) -> None:
        raise AssertionError

    before = {n: signal.signal(n, own) for n in BOTH}
    interruption, caught = Interruptible(), 0
    try:
        with interruption:
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                caught += 1
                # Sent on by a parent: the same one.
                os.kill(os.getpid(), number)
        assert (interruption.signal, caught) == (number, 1)
        assert [signal.getsignal(n) for n in BOTH] == [own, own]
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


@pytest.mark.parametrize("number", BOTH)
def test_an_interruption_in_a_destructor_is_not_lost(number):
    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def work() -> None:
        Interrupted()
        for _ in range(500):
            time.sleep(0.01)

    before = sys.unraisablehook, signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Interruptible() as interruptible:
            work()
        assert interruptible.signal == number
        assert sys.unraisablehook is before[0]
    finally:
        signal.signal(number, before[1])
