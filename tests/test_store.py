"""The cache: in one step, one at a time, and never believed when damaged."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import signal
import socket
import stat
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns import store as store_module
from lsns.errors import LsnsError
from lsns.store import (
    DamagedFileError,
    Store,
    atomic,
    digest_of,
    locked,
    prepare_folder,
    read_array,
    read_json,
    remembered_sha256,
    results_folder,
    sha256_file,
    user_folder,
    write_array,
    write_json,
)

SPAWN = multiprocessing.get_context("spawn")
SHAPE = (6, 2, 3)
ROWS = np.arange(36, dtype=np.float32).reshape(SHAPE)
MOMENTS = {"n": np.array([6]), "mean": ROWS.mean(axis=0, dtype=np.float64)}
DESCRIPTION = {"model": "tiny", "dtype": "float32", "protocol": {"pooling": "mean"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a regular file"
    path.write_text("mine")
    return path


@pytest.fixture
def own_user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "lsns"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, DESCRIPTION)


@pytest.fixture
def finished(store: Store) -> Store:
    fill(store)
    return store


def write_all(store: Store) -> Any:
    return store.write_rows(SHAPE, [([0, 4], ROWS[[0, 4]]), ([5, 1, 2, 3], ROWS[[5, 1, 2, 3]])])


def fill(store: Store) -> None:
    write_all(store)
    store.finish(MOMENTS, {"run": {"items": 6}})


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_all(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert not any(process.is_alive() for process in processes)


# Folders.


def test_results_are_where_one_says_then_loc_cache_then_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert results_folder() == Path("cache")
    monkeypatch.setenv("LOC_CACHE", "elsewhere")
    assert results_folder() == Path("elsewhere")
    assert results_folder("here") == Path("here")


def test_the_users_folder_follows_the_system(own_user_folder: Path) -> None:
    assert user_folder() == own_user_folder


def test_a_folder_is_prepared_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert prepare_folder(prepare_folder(folder)) == folder
    assert names(folder) == []


@pytest.mark.parametrize("below", ["", "folder", "folder/deeper"])
def test_a_folder_that_cannot_be_is_refused(file: Path, below: str) -> None:
    message = refusal(lambda: prepare_folder(file / below))
    assert f"folder {file / below} cannot be written to" in message
    assert "--cache-dir or LOC_CACHE" in message
    assert file.read_text() == "mine"


# In one step.


def test_atomic_replaces_at_the_end_of_the_block(file: Path) -> None:
    with atomic(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "mine"
        assert temporary.parent == file.parent
    assert file.read_text() == "new"
    assert names(file.parent) == [file.name]


@pytest.mark.parametrize("error", [ValueError, LsnsError, KeyboardInterrupt])
def test_atomic_leaves_what_was_there_when_the_block_fails(
    file: Path, error: type[BaseException]
) -> None:
    def write(path: Path) -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    for path in (file, file.with_name("not there yet")):
        with pytest.raises(error, match="stop"):
            write(path)
    assert file.read_text() == "mine"
    assert names(file.parent) == [file.name]


def test_a_disk_error_in_the_block_is_one_line(file: Path) -> None:
    def write() -> None:
        with atomic(file) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    assert refusal(write) == f"{file} could not be written (No space left on device)"
    assert names(file.parent) == [file.name]


def write_new(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("new")


def test_atomic_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    assert str(tmp_path / "folder") in refusal(lambda: write_new(tmp_path / "folder"))
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["inside"]


def take_lock(path: Path) -> None:
    with locked(path):
        pass


@pytest.mark.parametrize(
    "write",
    [
        write_new,
        lambda path: write_new(path / "deeper"),
        lambda path: write_json(path, {}),
        lambda path: write_array(path, ROWS, {}),
        take_lock,
    ],
)
def test_a_path_below_a_file_is_one_line(file: Path, write: Callable[[Path], Any]) -> None:
    path = file / "new.npy"
    assert str(path) in refusal(lambda: write(path))


def test_a_store_below_a_file_is_one_line(file: Path) -> None:
    store = Store(file, DESCRIPTION)
    assert str(file) in refusal(lambda: write_all(store))
    assert str(file) in refusal(lambda: store.keep("a", ROWS))
    assert str(file) in refusal(lambda: store.finish(MOMENTS, {}))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_usual_permissions(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_new(tmp_path / "new")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


# One at a time.


def count_up(folder: Path, times: int) -> None:
    counter = folder / "counter"
    for _ in range(times):
        with locked(folder / "deep" / "lock"):
            number = int(counter.read_text())
            time.sleep(0.02)
            counter.write_text(str(number + 1))


@pytest.mark.parametrize("worker", [threading.Thread, SPAWN.Process])
def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, worker: Callable[..., Any]) -> None:
    (tmp_path / "counter").write_text("0")
    run_all([worker(target=count_up, args=(tmp_path, 8)) for _ in range(3)])
    assert (tmp_path / "counter").read_text() == "24"


def test_a_lock_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "lock"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    thread = threading.Thread(target=take_lock, args=(tmp_path / "lock",), daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive()


# Keys.

leaves = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
descriptions = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=4),
    leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.text("ab"), leaves, max_size=3),
    max_size=4,
)


def turned(value: Any) -> Any:
    """The same, with the keys of every dictionary the other way round."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return value


@settings(max_examples=60, deadline=None)
@given(descriptions, descriptions)
def test_a_key_is_that_of_the_content_whatever_its_order(a: dict, b: dict) -> None:
    assert digest_of(turned(a)) == digest_of(a)
    # repr, because 1 == True in Python.
    same = repr(sorted_items(a)) == repr(sorted_items(b))
    assert (digest_of(a) == digest_of(b)) == same


def sorted_items(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, sorted_items(value[key])) for key in sorted(value)]
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"model": "tiny2"},
        {"dtype": None},
        {"protocol": {"pooling": "sum"}},
        {"protocol": {"pooling": "mean", "max_tokens": None}},
        {"more": 0},
    ],
)
def test_every_change_is_another_store(tmp_path: Path, change: dict[str, Any]) -> None:
    stores = [Store(tmp_path, d) for d in (DESCRIPTION, DESCRIPTION | change)]
    assert stores[0].folder != stores[1].folder
    assert stores[0].folder.parent == tmp_path


# Digests of large files.


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were really read for a digest."""
    paths: list[Path] = []

    def counted(path: Path) -> str:
        paths.append(path)
        return sha256_file(path)

    monkeypatch.setattr(store_module, "sha256_file", counted)
    return paths


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    content = os.urandom(1000) * 9000
    assert len(content) > 2 * store_module.CHUNK_BYTES
    (tmp_path / "large").write_bytes(content)
    assert sha256_file(tmp_path / "large") == hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("own_user_folder")
def test_a_file_is_read_once(file: Path, reads: list[Path]) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    digests = {remembered_sha256(path) for path in (file, file, link)}
    assert digests == {hashlib.sha256(b"mine").hexdigest()}
    assert len(reads) == 1


@pytest.mark.usefixtures("own_user_folder")
@pytest.mark.parametrize("content", ["longer than it was", "mone"])
def test_a_changed_file_is_noticed(file: Path, content: str) -> None:
    before = file.stat()
    remembered_sha256(file)
    file.write_text(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert remembered_sha256(file) == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.usefixtures("own_user_folder")
def test_a_replaced_file_of_the_same_size_and_time_is_noticed(file: Path) -> None:
    before = file.stat()
    remembered_sha256(file)
    other = file.with_name("other")
    other.write_text("mone")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert remembered_sha256(file) == hashlib.sha256(b"mone").hexdigest()


@pytest.mark.usefixtures("own_user_folder")
@pytest.mark.parametrize("place", [0, 0.37, 0.999999])
def test_a_flipped_byte_is_noticed_and_said_though_size_and_time_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: float
) -> None:
    file, content = tmp_path / "large", bytearray(os.urandom(3_000_000))
    file.write_bytes(content)
    before = file.stat()
    remembered_sha256(file)
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        assert remembered_sha256(file) == hashlib.sha256(content).hexdigest()
    assert caplog.text.count("may be damaged") == 1


def test_rot_that_no_time_tells_of(tmp_path: Path, own_user_folder: Path) -> None:
    """In one of the blocks that are read each time, or found by reading all."""
    file, content = tmp_path / "large", bytearray(3_000_000)
    file.write_bytes(content)
    os.utime(file, ns=(10**18, 10**18))
    sound = remembered_sha256(file)
    (memo,) = (own_user_folder / "digests").iterdir()
    for place in (20_000, 1):
        before = file.stat()
        content[place] ^= 1
        file.write_bytes(content)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        # As if the disk alone had changed: no system call sets this time back.
        memo.write_text(
            memo.read_text().replace(f"{before.st_ctime_ns}", f"{file.stat().st_ctime_ns}")
        )
        read = remembered_sha256(file)
        assert (read == sound) == (place == 20_000)
    assert store_module.reread_sha256(file) == (hashlib.sha256(content).hexdigest(), sound)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stamp": []}'])
def test_a_damaged_memory_is_no_memory(file: Path, own_user_folder: Path, content: str) -> None:
    remembered_sha256(file)
    (memo,) = (own_user_folder / "digests").iterdir()
    memo.write_text(content)
    assert remembered_sha256(file) == hashlib.sha256(b"mine").hexdigest()


def test_a_home_that_cannot_be_written_to_does_not_stop_a_run(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(file / "below"))
    assert remembered_sha256(file) == hashlib.sha256(b"mine").hexdigest()


# JSON and arrays.


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"ü": [1, 2.5, None, True], "a": {"b": "c\n"}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    text = (tmp_path / "x.json").read_bytes().decode("utf-8")
    assert text.endswith("}\n")
    assert "ü" in text


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"null"])
def test_json_that_is_no_object_is_empty(tmp_path: Path, content: bytes) -> None:
    assert read_json(tmp_path / "none.json") == {}
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") == {}


def test_array_round_trip(tmp_path: Path) -> None:
    path = write_array(tmp_path / "p.npy", ROWS, {"content": "p"})
    array, manifest = read_array(path)
    np.testing.assert_array_equal(array, ROWS)
    assert array.dtype == np.float32
    expected = {"name": "p.npy", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert manifest == {"content": "p", "file": expected}


# A run's activations.


def test_a_finished_store_gives_back_what_was_written(finished: Store) -> None:
    again = Store(finished.folder.parent, turned(DESCRIPTION))
    rows, moments = again.activations(), again.moments()
    assert rows is not None
    np.testing.assert_array_equal(rows, ROWS)
    assert rows.dtype == np.float32
    assert sorted(moments) == sorted(MOMENTS)
    for name, array in MOMENTS.items():
        np.testing.assert_array_equal(moments[name], array)
    assert again.manifest["run"] == {"items": 6}
    assert again.manifest["of"] == DESCRIPTION


def test_what_is_kept_cannot_be_changed_by_a_reader(finished: Store) -> None:
    rows = finished.activations()
    assert rows is not None
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_an_unfinished_store_is_not_a_result(store: Store) -> None:
    assert store.manifest == {}
    assert store.activations() is None
    write_all(store)
    assert store.manifest == {}
    with pytest.raises(DamagedFileError):
        store.activations()
    with pytest.raises(DamagedFileError):
        store.moments()


@pytest.mark.parametrize("values", [ROWS, np.arange(3.0), np.zeros((0, 2)), np.array([True])])
def test_a_part_is_given_back_by_its_name_alone(store: Store, values: Any) -> None:
    store.keep("a", values)
    found = Store(store.folder.parent, DESCRIPTION).part("a")
    assert found is not None
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype
    found[:] = 0
    assert store.part("b") is None
    assert store.n_parts == 1
    store.drop_parts()
    assert store.part("a") is None
    assert list(store.folder.parent.iterdir()) == []


def test_a_part_is_on_the_disk_before_it_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("sync"), sync(file))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (steps.append("named"), replace(*a))[1])
    store.keep("a", ROWS)
    assert steps == ["sync", "named"]


def partly_filled(store: Store) -> None:
    store.keep("a", ROWS[[0, 4]])
    store.keep("b", ROWS[[1]])


def fill_and_be_killed(folder: Path) -> None:
    store = Store(folder, DESCRIPTION)
    with store.alone("it"):
        partly_filled(store)
        (store.folder.parent / "theirs").mkdir()
        for place in (store.folder, store.path("parts"), store.folder.parent):
            place.mkdir(exist_ok=True)
            (place / f".{store.folder.name}.half").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_leaves_its_rows_and_no_lock(tmp_path: Path) -> None:
    process = SPAWN.Process(target=fill_and_be_killed, args=(tmp_path,))
    run_all([process])
    assert process.exitcode == -signal.SIGKILL
    run_all([SPAWN.Process(target=fill_once, args=(tmp_path, 1))])
    assert (tmp_path / "log").read_text() == "1 had 2\n"
    assert not list(tmp_path.rglob(".*")), "nothing half-written"
    assert names(tmp_path) == [digest_of(DESCRIPTION)[:32], "log", "theirs"]


def cut(content: bytes) -> bytes:
    return content[:-1]


def empty(_: bytes) -> bytes:
    return b""


def flip(where: float) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[int(where * (len(content) - 1))] ^= 1
        return bytes(changed)

    return damage


@pytest.mark.parametrize("name", ["moments.npz", "activations.npy"])
@pytest.mark.parametrize("damage", [cut, empty, flip(0), flip(0.5), flip(1), lambda c: c + b"\0"])
def test_damage_to_a_finished_store_is_noticed(
    finished: Store, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path = finished.folder / name
    path.write_bytes(damage(path.read_bytes()))
    read, other = finished.moments, finished.activations
    if name == "activations.npy":
        read, other = other, read
    with pytest.raises(DamagedFileError, match=name):
        read()
    assert other() is not None


@pytest.mark.parametrize("damage", [cut, empty, flip(0), flip(0.5), flip(1), lambda c: c + b"\0"])
def test_a_damaged_part_is_none(
    store: Store, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    partly_filled(store)
    path = store.path("parts") / "a.part"
    path.write_bytes(damage(path.read_bytes()))
    assert store.part("a") is None
    assert f"part {path} of a result is damaged; made again" in caplog.text
    assert store.part("b") is not None


def test_moments_that_are_gone_are_noticed(finished: Store) -> None:
    (finished.folder / "moments.npz").unlink()
    with pytest.raises(DamagedFileError, match=r"moments\.npz"):
        finished.moments()


def test_a_manifest_of_another_run_is_not_believed(finished: Store) -> None:
    path = finished.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "0" * 64}))
    assert finished.manifest == {}
    with pytest.raises(DamagedFileError):
        finished.moments()


def test_rows_that_are_not_kept_leave_the_moments(store: Store) -> None:
    write_all(store)
    store.finish(MOMENTS, {}, rows=False)
    assert store.activations() is None
    np.testing.assert_array_equal(store.moments()["n"], [6])


def write_too_much(folder: Path, result: Any) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    store, taken = Store(folder, DESCRIPTION), []
    rows = np.zeros((1, 1024, 256), np.float32)
    try:
        store.write_rows((4, 1024, 256), ((taken.append(i) or [i], rows) for i in range(4)))
    except LsnsError as error:
        result.put((str(error), taken))


def test_a_full_disk_is_one_line_before_anything_is_written(tmp_path: Path) -> None:
    result = SPAWN.Queue()
    process = SPAWN.Process(target=write_too_much, args=(tmp_path, result))
    process.start()
    message, taken = result.get(timeout=60)
    process.join()
    path = Store(tmp_path, DESCRIPTION).folder / "activations.npy"
    assert message == f"{path} could not be written (File too large)"
    assert taken == []
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("reserves", [True, False])
def test_no_space_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, reserves: bool
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC if reserves else errno.EOPNOTSUPP, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    if reserves:
        assert "could not be written (full)" in refusal(lambda: store.keep("a", ROWS))
        assert list(store.path("parts").iterdir()) == []
    else:
        fill(store)
        np.testing.assert_array_equal(store.activations(), ROWS)


def test_who_waits_is_told_for_whom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "lock"
    with locked(path, "the work"):
        assert path.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
        waiter = threading.Thread(target=take_lock, args=(path,))
        waiter.start()
        while "waiting" not in caplog.text:
            time.sleep(0.01)
    waiter.join(timeout=10)
    said = f"waiting for it ({path}, process {os.getpid()} on {socket.gethostname()})"
    assert said in caplog.text


def test_discarding_leaves_nothing_to_be_found(finished: Store) -> None:
    finished.discard()
    finished.discard()
    assert finished.manifest == {}
    assert finished.activations() is None
    assert list(finished.folder.parent.iterdir()) == []


def fill_once(folder: Path, number: int) -> None:
    """What a run does: fill the store unless another one has."""
    store = Store(folder, DESCRIPTION)
    with store.alone("it"):
        if not store.manifest:
            with (folder / "log").open("a") as log:
                log.write(f"{number} had {store.n_parts}\n")
            time.sleep(0.2)
            fill(store)
    rows = store.activations()
    assert rows is not None
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(store.moments()["mean"], MOMENTS["mean"])


def test_two_processes_on_one_key_fill_it_once(tmp_path: Path) -> None:
    processes = [SPAWN.Process(target=fill_once, args=(tmp_path, number)) for number in range(3)]
    run_all(processes)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def write_often(path: Path, number: int) -> None:
    for _ in range(30):
        with atomic(path) as temporary:
            temporary.write_text(str(number) * 10_000)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("0" * 10_000)
    writers = [threading.Thread(target=write_often, args=(path, n)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    contents = []
    while any(writer.is_alive() for writer in writers):
        contents.append(path.read_text())
    for writer in writers:
        writer.join()
    contents.append(path.read_text())
    assert {len(content) for content in contents} == {10_000}
    assert all(len(set(content)) == 1 for content in contents)
    assert names(tmp_path) == ["file"]


# What is not believed, and what the system refuses.


def announce(shape: tuple[int, ...], dtype: str = "<i8") -> bytes:
    """An .npy file of few bytes that announces an array of that shape."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(1000)


@pytest.mark.parametrize("shape", [(2**29,), (2**40, 2**40), (124,), (126,), (10**400,)])
def test_an_array_must_be_as_large_as_it_says(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "x.npy").write_bytes(announce(shape))
    tracemalloc.start()
    assert "is not a readable .npy array" in refusal(lambda: read_array(tmp_path / "x.npy"))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("content", ['{"a":' * 200_000, '{"a": ' + "9" * 400 + "}"])
def test_json_that_would_harm_is_damaged(finished: Store, content: str) -> None:
    (finished.folder / "manifest.json").write_text(content)
    assert read_json(finished.folder / "manifest.json") == {}
    assert finished.manifest == {}


def test_a_manifest_changed_by_hand_is_not_believed(finished: Store) -> None:
    path = finished.folder / "manifest.json"
    content = json.loads(path.read_text())
    for change in ({"sha256": []}, {"run": 3}, {"of": None}, {"more": 1}):
        path.write_text(json.dumps(content | change))
        assert finished.manifest == {}


@pytest.mark.parametrize("name", ["activations.npy", "a.part", "folder", "parts"])
def test_a_link_in_the_cache_is_not_written_through(store: Store, name: str) -> None:
    partly_filled(store)
    theirs = store.folder.parent / "theirs"
    theirs.mkdir()
    paths = {"folder": store.folder, "parts": store.path("parts")}
    path = paths.get(name) or (paths["parts"] if name == "a.part" else store.folder) / name
    if name in paths:
        store.drop_parts()
    else:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        theirs = theirs / "file"
        theirs.write_text("mine")
    path.symlink_to(theirs)
    with store.alone("it"):
        store.keep("a", ROWS)
        fill(store)
    assert theirs.read_text() == "mine" if theirs.is_file() else not list(theirs.iterdir())
    assert not path.is_symlink()


def test_a_link_in_place_of_a_lock_or_a_file_is_replaced(file: Path) -> None:
    for use in (take_lock, write_new):
        link = file.with_name("link")
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        use(link)
        assert file.read_text() == "mine"
        assert not link.is_symlink()


def test_a_file_that_cannot_be_read_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_array(tmp_path / "x.npy", ROWS, {})

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_bytes", broken)
    for call in (
        lambda: read_json(tmp_path / "x.json"),
        lambda: read_array(tmp_path / "x.npy"),
    ):
        assert "x.json could not be read (Input/output error)" in refusal(call)
