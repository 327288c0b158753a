"""Where results live: written in one step, locked, checked, keyed by all that determines them.

Two places. The *results folder* (`--cache-dir`, `LOC_CACHE`, default `cache`) holds the files of
runs and, below `activations/`, what they were computed from. The *user's cache folder* holds what
is worth keeping across projects: the converted bundled model and the digests of large files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lsns.errors import LsnsError
from lsns.terminal import one_line

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 22


class DamagedFileError(Exception):
    """A cached file is cut short, or has other bytes than it was written with."""


def results_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder for results: as given, else `LOC_CACHE`, else `cache`."""
    return Path(cache_dir or os.environ.get("LOC_CACHE") or "cache")


def user_folder() -> Path:
    """The folder for what outlives a project, e.g. `~/.cache/lsns` on Linux."""
    from platformdirs import user_cache_path

    return user_cache_path("lsns", appauthor=False)


def prepare_folder(folder: Path) -> Path:
    """Make `folder`, and find out whether files can be written there, before the long work.

    Raises:
        LsnsError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LsnsError(
            f"folder {folder} cannot be written to ({error.strerror}); "
            "choose another with --cache-dir or LOC_CACHE"
        ) from None
    return folder


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` if the block ends well, else vanishes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        raise LsnsError(f"{path} could not be written ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise LsnsError(f"{path} could not be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str = "") -> Iterator[None]:
    """Hold the lock file `path`, so that two processes do not do the same work at once.

    Args:
        path: the lock file.
        what: is done under it: said at once, if another process holds it and has to be waited for.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning(
                "another run is at %s; waiting for it (%s)", one_line(what or path.stem), path
            )
            lock.acquire()
    except OSError as error:
        raise LsnsError(f"{path} could not be locked ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def digest_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-like description, whatever the order of its keys."""
    # A path may hold bytes that are no UTF-8.
    return hashlib.sha256(_json(description).encode(errors="surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a large file, computed once per (path, size, time of change)."""
    status = path.stat()
    stamp = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    memo = user_folder() / "digests" / f"{hashlib.sha256(str(stamp[0]).encode()).hexdigest()}.json"
    known = read_json(memo)
    if known.get("stamp") != stamp:
        known = {"stamp": stamp, "sha256": sha256_file(path)}
        # Only a memory: without it the file is hashed again.
        with suppress(LsnsError):
            write_json(memo, known)
    return str(known["sha256"])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object in one step."""
    with atomic(path) as temporary:
        temporary.write_text(_json(content, indent=2) + "\n", encoding="utf-8")


def manifest_path(path: Path) -> Path:
    """The manifest beside a result file: the same name, ending in `.json`."""
    return path.with_name(path.name.removesuffix(path.suffix) + ".json")


def write_array(path: Path, array: Array, manifest: Mapping[str, Any]) -> Path:
    """Write `array` as `.npy` and its manifest beside it, with the SHA-256 of the array's file."""
    if path.suffix != ".npy":
        raise LsnsError(f"{path}: the name of an array's file ends in .npy")
    # Before anything is replaced: a manifest that cannot be written must not cost the old array.
    _json(dict(manifest))
    with atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        digest = sha256_file(temporary)
    write_json(manifest_path(path), {**manifest, "file": {"name": path.name, "sha256": digest}})
    return path


def read_array(path: Path) -> tuple[Array, dict[str, Any]]:
    """Read an array and the manifest beside it (empty if there is none).

    Raises:
        LsnsError: no such file, no array, or other bytes than the manifest was written for.
    """
    if not path.is_file():
        raise LsnsError(f"no file {path}")
    manifest = read_json(manifest_path(path))
    entry = manifest.get("file")
    expected = entry.get("sha256") if isinstance(entry, dict) else None
    if expected and sha256_file(path) != expected:
        raise LsnsError(f"{path} is not the file that its manifest describes; make it again")
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False), manifest
    except Exception:
        # Whatever a damaged header makes numpy's parser raise.
        raise LsnsError(f"{path} is not a readable .npy array") from None


class ActivationStore:
    """The pooled activations of one run, and their moments, in a folder of their own.

    Rows are written as they come, and a row counts as done only after its data: a run that was
    killed goes on where it was.

    Layout: `activations.npy` (n_items, n_layers, hidden_size) float32, `done.npy` one byte per
    item, `moments.npz`, `manifest.json` (what the key was made from, and digests of the files).
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.key = digest_of(description)
        self.folder = folder / "activations" / self.key[:32]
        self._description = dict(description)

    @property
    def manifest(self) -> dict[str, Any]:
        """What is known of a finished run; empty if it is not finished."""
        manifest = read_json(self.folder / "manifest.json")
        return manifest if manifest.get("key") == self.key else {}

    def lock(self, what: str = "activations") -> Any:
        """Hold this while filling the store; see `locked`."""
        return locked(self.folder / "lock", what)

    def discard(self) -> None:
        """Remove what was kept, so that it is computed again."""
        for name in ("manifest.json", "moments.npz", "done.npy", "activations.npy"):
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise LsnsError(f"{self.folder} could not be emptied ({error.strerror})") from None

    def open_rows(self, shape: tuple[int, int, int]) -> tuple[Array, Array]:
        """Memory-mapped (activations, done) for filling; what an earlier run wrote is kept."""
        data, done = self.folder / "activations.npy", self.folder / "done.npy"
        try:
            # Read-only first, which notices a file cut short: r+ would fill it up with zeros.
            for path in (data, done):
                np.load(path, mmap_mode="r", allow_pickle=False)
            rows = np.load(data, mmap_mode="r+", allow_pickle=False)
            flags = np.load(done, mmap_mode="r+", allow_pickle=False)
            if rows.shape == shape and flags.shape == shape[:1]:
                return rows, flags
        except Exception:
            # Nothing there, or damaged in any way: made anew.
            logger.debug("no rows to go on from in %s", self.folder)
        self.discard()
        return _new_rows(data, np.float32, shape), _new_rows(done, np.uint8, shape[:1])

    def finish(self, moments: Mapping[str, Array], details: Mapping[str, Any]) -> None:
        """Write the moments, then the manifest that makes the run count as finished."""
        with atomic(self.folder / "moments.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **moments)
        names = ("moments.npz", "activations.npy")
        digests = {
            name: sha256_file(self.folder / name) for name in names if (self.folder / name).exists()
        }
        content = {"key": self.key, "of": self._description, "sha256": digests, **details}
        write_json(self.folder / "manifest.json", content)

    def drop_rows(self) -> None:
        """Give up the single activations, e.g. above a size limit; the moments stay."""
        for name in ("activations.npy", "done.npy"):
            (self.folder / name).unlink(missing_ok=True)

    def moments(self) -> dict[str, Array]:
        """The arrays that `finish` wrote.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        path = self.folder / "moments.npz"
        self._check("moments.npz")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def activations(self) -> Array | None:
        """All rows, memory-mapped read-only; None if they were not kept.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        path = self.folder / "activations.npy"
        if not path.exists():
            return None
        self._check("activations.npy")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _check(self, name: str) -> None:
        path = self.folder / name
        expected = self.manifest.get("sha256", {}).get(name)
        if not path.is_file() or expected is None or sha256_file(path) != expected:
            raise DamagedFileError(str(path))


def _new_rows(path: Path, dtype: Any, shape: tuple[int, ...]) -> Array:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    except OSError as error:
        raise LsnsError(f"{path} could not be written ({error.strerror})") from error


def _json(content: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(content, sort_keys=True, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _umask() -> int:
    # The mask can only be read by setting it; it is put back at once.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
