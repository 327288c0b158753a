"""Chunks over engines: kept at once, the same bytes by any of them, whoever is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lsns
from lsns.engines import Engine, engine_of
from lsns.errors import LsnsError
from lsns.models.factory import ModelRequest
from lsns.store import Store
from tests.conftest import REPOSITORY, start_interruptible
from tests.tiny import TEXTS, make_model
from tests.working import N_CHUNKS, Draw, Fatal, fail, work


@pytest.fixture(scope="module")
def expected() -> Any:
    return np.stack([np.random.RandomState(seed).random_sample(3) for seed in range(N_CHUNKS)])


@pytest.mark.parametrize("engine", [engine_of(1), engine_of(2)], ids=["here", "processes"])
@pytest.mark.parametrize("at_once", [0, 7])
def test_every_engine_gives_the_same(
    engine: Engine, at_once: int, tmp_path: Path, expected: Any
) -> None:
    draw = Draw(tmp_path / "log")
    assert work(engine, draw, tmp_path, at_once=at_once).tobytes() == expected.tobytes()
    assert sorted(draw.drawn) == list(range(N_CHUNKS))
    # And is there the second time.
    assert work(engine, draw, tmp_path).tobytes() == expected.tobytes()
    assert len(draw.drawn) == N_CHUNKS


def test_the_task_of_a_worker_that_dies_is_done_by_another(tmp_path: Path, expected: Any) -> None:
    draw = Fatal(tmp_path / "log")
    found = work(engine_of(2), draw, tmp_path, n=30)
    assert found.tobytes() == expected[:30].tobytes()
    dead = [seed for seed in range(30) if seed % 3]
    assert len(dead) == 20
    # Nothing is lost but what was in hand, if it was done at all.
    assert Counter(draw.drawn) == Counter([*range(30), *(seed for seed in dead if seed % 2)])


@pytest.mark.parametrize(("cores", "warned"), [({0}, 1), ({0, 1}, 0)])
def test_more_threads_than_cores_are_one_warning(
    cores: set[int], warned: int, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores, raising=False)
    threads = types.SimpleNamespace(get_num_threads=lambda: 1)
    monkeypatch.setitem(sys.modules, "torch", threads)
    assert sorted(engine_of(2)(str, [3, 4, 5])) == [(0, "3"), (1, "4"), (2, "5")]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == warned
    assert all("more threads than cores (2 workers x 1, on 1)" in line for line in said)


def test_what_ends_every_worker_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LsnsError, match=r"^3 workers ended before they had finished one piece of"):
        work(engine_of(2), Fatal(tmp_path / "log", times=9), tmp_path)
    assert not multiprocessing.active_children()


def test_an_error_in_a_worker_is_one_here() -> None:
    with pytest.raises(LsnsError, match=r"^no way$"):
        list(engine_of(2)(fail, [["way"]]))
    with pytest.raises(RuntimeError, match="ValueError: other"):
        list(engine_of(2)(fail, [["other"]]))
    assert not multiprocessing.active_children()


def test_workers_that_are_killed_at_any_moment(tmp_path: Path, expected: Any) -> None:
    """How often depends on the machine; that twenty deaths lose nothing is shown above."""
    draw, killed = Draw(tmp_path / "log", 0.1), list[int]()

    store = Store(tmp_path, {"of": "test"})

    def kill() -> None:
        kept = 0
        while len(killed) < 20 and not ended.is_set():
            if store.n_parts == kept:
                time.sleep(0.002)
                continue
            kept = store.n_parts
            # One that has finished something, and so is at another chunk, for the first time.
            done = {path.stem for path in store.path("parts").glob("*.part")}
            alive = {worker.pid for worker in multiprocessing.active_children()}
            busy = [pid for seed, pid in draw.lines if pid in alive and f"{seed}" in done]
            time.sleep(random.Random(kept).uniform(0, 0.04))
            if busy:
                os.kill(busy[-1], signal.SIGKILL)
                killed.append(busy[-1])

    ended = threading.Event()
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    found = work(engine_of(2), draw, tmp_path)
    ended.set()
    thread.join(timeout=10)
    assert 3 <= len(set(killed)) <= 20
    assert found.tobytes() == expected.tobytes()
    assert N_CHUNKS <= len(draw.drawn) <= N_CHUNKS + 20


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_the_parent_is_killed_twenty_times(tmp_path: Path, expected: Any) -> None:
    code = f"from tests.working import main; main({str(tmp_path)!r}, '2')"
    draw, store, kills = Draw(tmp_path / "log"), Store(tmp_path, {"of": "test"}), 0
    while store.n_parts < N_CHUNKS and kills < 20:
        before = store.n_parts
        process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
        while store.n_parts == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.Random(kills).uniform(0, 0.04))
        workers = children(process.pid)
        process.kill()
        process.wait()
        kills += 1
        # They notice that they are alone.
        end = time.monotonic() + 20
        while any(map(is_alive, workers)):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert store.n_parts > before
    kept = store.n_parts
    computed = len(draw.drawn)
    assert computed <= kept + 2 * kills
    found = work(engine_of(1), draw, tmp_path)
    assert found.tobytes() == expected.tobytes()
    assert len(draw.drawn) - computed == N_CHUNKS - kept


def test_ctrl_c_says_what_is_kept_and_ends_the_workers(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tests.working import main\n"
        f"try:\n    main({str(tmp_path)!r}, '2')\n"
        "except KeyboardInterrupt as error:\n    print(error)\n"
    )
    process = start_interruptible([sys.executable, "-c", code], cwd=REPOSITORY)
    store = Store(tmp_path, {"of": "test"})
    while store.n_parts < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    kept = 2 * store.n_parts
    assert printed == (
        f"interrupted: {kept} of {2 * N_CHUNKS} texts are kept in {tmp_path}; "
        "the same command goes on from there\n"
    )
    assert not errors


# With models.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model"
    model = make_model()
    model.model.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return str(path)


def test_workers_localize_the_same(folder: str, tmp_path: Path) -> None:
    texts = [f"{text} {number}" for number in range(30) for text in TEXTS]
    contrast = lsns.Contrast("own", texts[::2], texts[1::2])
    found = [
        lsns.localize(
            ModelRequest(folder, device="cpu"), contrast, percentage=10, workers=workers,
            cache_dir=tmp_path / str(workers),
        )
        for workers in (1, 2)
    ]  # fmt: skip
    one, two = (localization.measurement.store.folder for localization in found)
    for name in ("activations.npy", "moments.npz"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_workers_that_cannot_be(tmp_path: Path) -> None:
    contrast = lsns.Contrast("own", TEXTS[:2], TEXTS[2:4])
    for workers, message in (
        (0, "workers must be at least 1; got 0"),
        (True, "workers must be at least 1; got True"),
        (2, "each of 2 workers loads the model itself; give its name instead of .* or use one"),
    ):
        with pytest.raises(LsnsError, match=message):
            lsns.localize(make_model(), contrast, workers=workers, cache_dir=tmp_path)
