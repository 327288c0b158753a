"""Where results live: written in one step, locked, checked, keyed by all that determines them.

Two places. The *results folder* (`--cache-dir`, `LOC_CACHE`, default `cache`) holds the files of
runs and, below `activations/`, what they were computed from. The *user's cache folder* holds what
is worth keeping across projects: the converted bundled model and the digests of large files.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from lsns.errors import LsnsError
from lsns.terminal import one_line

Array = np.ndarray[Any, Any]
Content = TypeVar("Content")
logger = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 22
# Digits of a whole number in JSON: more than 64 bits have, and fewer than arithmetic trips over.
LONGEST_NUMBER = 20
# What a file system says that has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# What a file system says that reserves no space.
CANNOT_RESERVE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
# What is read of a large file each time, to notice that it was changed.
SAMPLE_BLOCKS, SAMPLE_BYTES = 64, 4096
TICK_SECONDS = 0.02
# Of what a lock file says of its holder.
LONGEST_HOLDER = 200
DIGEST_BYTES = 32


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
            f"folder {folder} cannot be written to ({_reason(error)}); "
            "choose another with --cache-dir or LOC_CACHE"
        ) from None
    return folder


@contextmanager
def atomic(path: Path) -> Generator[Path]:
    """Yield a temporary path that becomes `path` if the block ends well, else vanishes."""
    with _refused(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # Before it counts: what the system has not written yet is lost with its power.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            # What could not be removed is a hidden file too many, and hides no other error.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def _refused(path: Path, what: str) -> Generator[None]:
    """What the system refuses is one line."""
    try:
        yield
    except OSError as error:
        raise LsnsError(f"{path} could not be {what} ({_reason(error)})") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


@contextmanager
def locked(path: Path, what: str = "", *, once: bool = False) -> Generator[None]:
    """Hold the lock file `path`, so that two processes do not do the same work at once.

    Where the file system has no locks, that is said, and the work goes on without: files are
    written in one step, so two processes at the same work do it twice and spoil nothing.

    Args:
        path: the lock file; a link is not followed.
        what: names the work for whoever has to wait, which is said at once, with the process and
            the machine that it waits for.
        once: remove the file at the end.

    Raises:
        LsnsError: it cannot be locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            # A lock opens its file for writing: whatever the link names is not ours.
            path.unlink()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            name, holder = one_line(what or path.stem), _holder(path)
            logger.warning("another run is at %s; waiting for it (%s%s)", name, path, holder)
            lock.acquire()
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise LsnsError(f"{path} could not be locked ({_reason(error)})") from error
        logger.warning(
            "%s cannot be locked here (%s); let no two runs write there at once",
            path.parent,
            _reason(error),
        )
    try:
        yield
    finally:
        # The system lets go of it with the process at the latest. Removed while it is held:
        # whoever waits finds the file gone, and makes another.
        with suppress(OSError):
            if once:
                path.unlink()
        with suppress(OSError):
            lock.release()


def _holder(path: Path) -> str:
    """What the lock file says of who holds it, if anything."""
    with suppress(OSError, ValueError):
        text = one_line(path.read_text(encoding="utf-8")[:LONGEST_HOLDER])
        return f", {text}" if text else ""
    return ""


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        LsnsError: it is there and cannot be removed.
    """
    with _refused(path, "removed"), suppress(NotADirectoryError):
        path.unlink(missing_ok=True)


def digest_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-like description, whatever the order of its keys."""
    # A path may hold bytes that are no UTF-8.
    return hashlib.sha256(_json(description).encode(errors="surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a large file, read whole only if it may have changed since it was read.

    It may have if its size, a time of change (of the content, or of anything, which cannot be set
    back), its inode or one of 64 blocks spread over it differs. Content that changed while size
    and time of change stayed is said: the file may be damaged.
    """
    known = read_json(_memo(path))
    if known.get("stamp") == _stamp(path) and _is_digest(known.get("sha256")):
        return str(known["sha256"])
    digest, expected = reread_sha256(path)
    if expected not in (None, digest):
        logger.warning(
            "%s has other content than before, though its size and time of change are the same: "
            "it may be damaged; copy it again from where it came",
            path,
        )
    return digest


def reread_sha256(path: Path) -> tuple[str, str | None]:
    """SHA-256 of a file by reading all of it, and the one that it should have, if that is known.

    It should have what it had when it was first read with this size and time of change.
    """
    # What is written within one tick of the clock that stamps files would have the same stamp.
    if 0 <= time.time() - path.stat().st_ctime < TICK_SECONDS:
        time.sleep(TICK_SECONDS)
    known, stamp, digest = read_json(_memo(path)), _stamp(path), sha256_file(path)
    before = known.get("stamp")
    same = isinstance(before, dict) and all(before.get(n) == stamp[n] for n in ("size", "mtime"))
    expected = known.get("expected") if same and _is_digest(known.get("expected")) else None
    # Only a memory: without it the file is hashed again.
    with suppress(LsnsError):
        write_json(_memo(path), {"stamp": stamp, "sha256": digest, "expected": expected or digest})
    return digest, expected


def _memo(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return user_folder() / "digests" / f"{name}.json"


def _stamp(path: Path) -> dict[str, Any]:
    """What would tell that a file was changed, without reading all of it."""
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
        "inode": status.st_ino,
        "sample": _sample(path, status.st_size),
    }


def _sample(path: Path, size: int) -> str:
    """SHA-256 of blocks spread over a file, the first and the last among them."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for index in range(SAMPLE_BLOCKS):
            file.seek(max(size - SAMPLE_BYTES, 0) * index // (SAMPLE_BLOCKS - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: no UTF-8, no JSON, no object, nested too deep, or a whole number of more than
            `LONGEST_NUMBER` digits.
    """
    try:
        found = json.loads(content.decode("utf-8"), parse_int=_whole_number)
    except RecursionError:
        raise ValueError("not JSON: nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"an object was expected, not {type(found).__name__}")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none or it is damaged.

    Raises:
        LsnsError: the file is there and cannot be read.
    """
    try:
        return parse_object(read_bytes(path) or b"")
    except ValueError:
        return {}


def read_bytes(path: Path) -> bytes | None:
    """What a file holds; None if there is none.

    Raises:
        LsnsError: it is there and cannot be read.
    """
    with _refused(path, "read"), suppress(FileNotFoundError, NotADirectoryError):
        return path.read_bytes()
    return None


def _write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step, its space reserved before and its bytes synced before it counts."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        _reserve(file, len(content))
        file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object in one step."""
    _write_bytes(path, f"{_json(content, indent=2)}\n".encode())


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
    try:
        with _refused(path, "read"), path.open("rb") as file:
            if expected and sha256_file(path) != expected:
                raise LsnsError(
                    f"{path} is not the file that its manifest describes; make it again"
                )
            return _read_npy(file, path.stat().st_size), manifest
    except DamagedFileError:
        raise LsnsError(f"{path} is not a readable .npy array") from None


def read_arrays(path: str | Path) -> dict[str, Array]:
    """The arrays of an `.npz` as `numpy.savez` writes it, without believing the sizes it announces.

    Raises:
        DamagedFileError: not such a file, or arrays of another size than it has bytes for.
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # Not compressed: a few bytes that unfold into gigabytes are not ours.
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise DamagedFileError(f"{path}: compressed")
            if sum(m.file_size for m in members) > size:
                raise DamagedFileError(f"{path}: more is announced than there is")
            return {
                m.filename.removesuffix(".npy"): _read_npy(io.BytesIO(archive.read(m)), m.file_size)
                for m in members
            }
    except (OSError, DamagedFileError):
        raise
    except Exception as error:
        # Whatever a damaged directory makes Python's parser raise.
        raise DamagedFileError(f"{path}: {type(error).__name__}") from None


def _read_npy(file: IO[bytes], size: int) -> Array:
    """The array in a file of `size` bytes; its header must announce just these."""
    try:
        version = np.lib.format.read_magic(file)
        known = {(1, 0): np.lib.format.read_array_header_1_0}
        read_header = known.get(version, np.lib.format.read_array_header_2_0)
        shape, _, dtype = read_header(file)
        fits = math.prod(shape) * dtype.itemsize == size - file.tell()
        file.seek(0)
        if fits and not dtype.hasobject:
            return np.lib.format.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        # Whatever a damaged header makes numpy's parser raise.
        raise DamagedFileError(type(error).__name__) from None
    raise DamagedFileError("other bytes than its header announces")


class Store:
    """What one computation leaves, under a key made of everything that determines it.

    Until all is there, parts: `KEY.parts/NAME.part`, each written in one step, synced before it
    counts, with a digest of its own. In the end the folder `KEY`: arrays, and `manifest.json` with
    what the key was made from, the digests of the files, and one of itself.

    Args:
        place: the folder of all computations of one kind.
        description: everything that determines the result, as plain values.
    """

    def __init__(self, place: Path, description: Mapping[str, Any]) -> None:
        self.key = digest_of(description)
        self.folder = place / self.key[:32]
        self.description = dict(description)

    def path(self, ending: str) -> Path:
        """The path beside the folder, with the key for its name and the ending `.ENDING`."""
        return self.folder.with_name(f"{self.folder.name}.{ending}")

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """Keep other runs from this computation; wait for one that is at it, which is said.

        What a run that was killed left half-written is removed.

        Args:
            what: names the computation for whoever waits.
        """
        with locked(self.path("lock"), what, once=True):
            self.sweep()
            yield

    def sweep(self) -> None:
        """Remove what a run that was killed left half-written, and links in place of folders."""
        leftovers = list(self.folder.parent.glob(f".{self.folder.name}*"))
        for folder in (self.folder, self.path("parts")):
            if folder.is_symlink():
                # Whatever it names is not ours to write to.
                remove(folder)
            leftovers += folder.glob(".*")
        for path in leftovers:
            remove(path)

    @property
    def n_parts(self) -> int:
        """The number of parts that are there."""
        return len(list(self.path("parts").glob("*.part")))

    def part(self, name: str) -> Array | None:
        """The part of that name; None if there is none, or a damaged one, which is said."""
        path = self._part_path(name)
        content = read_bytes(path)
        if content is None:
            return None
        digest, rest = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(rest).digest() == digest:
            with suppress(DamagedFileError):
                return _read_npy(io.BytesIO(rest), len(rest))
        logger.warning("part %s of a result is damaged; made again", path)
        return None

    def keep(self, name: str, values: Array) -> None:
        """Write a part."""
        file = io.BytesIO()
        np.save(file, values, allow_pickle=False)
        content = file.getvalue()
        _write_bytes(self._part_path(name), hashlib.sha256(content).digest() + content)

    def _part_path(self, name: str) -> Path:
        return self.path("parts") / f"{name[:32]}.part"

    def drop_parts(self) -> None:
        """Remove all parts."""
        _remove_folder(self.path("parts"))

    def discard(self) -> None:
        """Remove the result and the parts, so that all is computed again."""
        _remove_folder(self.folder)
        self.drop_parts()

    @property
    def manifest(self) -> dict[str, Any]:
        """What is known of a finished result; empty if it is not finished."""
        manifest = read_json(self.folder / "manifest.json")
        digest = manifest.pop("digest", None)
        sound = digest == digest_of(manifest) and manifest.get("key") == self.key
        return manifest if sound else {}

    def write_rows(
        self, shape: tuple[int, ...], blocks: Iterable[tuple[Sequence[int], Array | None]]
    ) -> Array:
        """Write `activations.npy` in one pass; space is reserved for all of it before.

        Args:
            shape: of all rows, float32.
            blocks: indexes of some rows, and these rows; None: they are gone.

        Returns:
            All rows, memory-mapped read-only.
        """
        path = self.folder / "activations.npy"
        with atomic(path) as temporary, temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start, size = file.tell(), 4 * math.prod(shape[1:])
            _reserve(file, start + size * shape[0])
            for indexes, rows in blocks:
                if rows is None:
                    raise LsnsError(f"{path} could not be written: a part is gone; run again")
                for index, row in zip(indexes, rows, strict=True):
                    file.seek(start + index * size)
                    file.write(np.ascontiguousarray(row, "<f4").tobytes())
        return _mapped(path)

    def finish(
        self, moments: Mapping[str, Array], details: Mapping[str, Any], *, rows: bool = True
    ) -> None:
        """Write the moments, then the manifest that makes the result count as finished.

        Args:
            moments: the arrays by name.
            details: what else the manifest says.
            rows: whether the single activations are kept.
        """
        if not rows:
            remove(self.folder / "activations.npy")
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **moments)
        _write_bytes(self.folder / "moments.npz", file.getvalue())
        with _refused(self.folder, "read"):
            written = [self.folder / name for name in ("moments.npz", "activations.npy")]
            digests = {path.name: sha256_file(path) for path in written if path.exists()}
        content = {"key": self.key, "of": self.description, "sha256": digests, **details}
        # Of the manifest itself: one that was changed by hand is not believed, whatever it says.
        write_json(self.folder / "manifest.json", {**content, "digest": digest_of(content)})
        self.drop_parts()

    def moments(self) -> dict[str, Array]:
        """The arrays that `finish` wrote.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        return self._read("moments.npz", read_arrays)

    def activations(self) -> Array | None:
        """All rows, memory-mapped read-only; None if they were not kept.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        name = "activations.npy"
        return self._read(name, _mapped) if (self.folder / name).exists() else None

    def _read(self, name: str, read: Callable[[Path], Content]) -> Content:
        path = self.folder / name
        expected = self.manifest.get("sha256", {}).get(name)
        with _refused(path, "read"):
            if expected is None or not path.is_file() or sha256_file(path) != expected:
                raise DamagedFileError(str(path))
            return read(path)


def _mapped(path: Path) -> Array:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _remove_folder(path: Path) -> None:
    """Remove a folder and what is in it; of a link, the link alone."""
    if path.is_symlink() or path.is_file():
        remove(path)
        return
    with _refused(path, "removed"), suppress(FileNotFoundError, NotADirectoryError):
        shutil.rmtree(path)


def _reserve(file: IO[bytes], size: int) -> None:
    """Make sure of the space for a new file: a full disk is an error now, and not in the middle."""
    file.flush()
    position = file.tell()
    if hasattr(os, "posix_fallocate") and size:
        try:
            return os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in CANNOT_RESERVE:
                raise
    for _ in range(position, size, CHUNK_BYTES):
        file.write(bytes(min(CHUNK_BYTES, size - file.tell())))
    file.seek(position)


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


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
