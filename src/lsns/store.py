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
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from lsns.errors import LsnsError
from lsns.terminal import one_line

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 22
# Digits of a whole number in JSON: more than 64 bits have, and fewer than arithmetic trips over.
LONGEST_NUMBER = 20
# What a file system says that has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# Bytes of a part of a file's name, and of a name without its ending: systems take 255.
LONGEST_PART, LONGEST_STEM = 80, 235
# What stands between the parts of a name, or means something to a shell or a file system.
SPECIAL = '/\\:*?"<>|=~'
# What is read of a large file each time, to notice that it was changed.
SAMPLE_BLOCKS, SAMPLE_BYTES = 64, 4096
TICK_SECONDS = 0.02


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
            f"folder {folder} cannot be written to ({reason_of(error)}); "
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
        raise LsnsError(f"{path} could not be written ({reason_of(error)})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise LsnsError(f"{path} could not be written ({reason_of(error)})") from error
    finally:
        # What could not be removed is a hidden file too many, and hides no other error.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str = "") -> Iterator[None]:
    """Hold the lock file `path`, so that two processes do not do the same work at once.

    Where the file system has no locks, that is said, and the work goes on without: files are
    written in one step, so two processes at the same work do it twice and spoil nothing.

    Args:
        path: the lock file; a link is not followed.
        what: is done under it: said at once, if another process holds it and has to be waited for.

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
            logger.warning(
                "another run is at %s; waiting for it (%s)", one_line(what or path.stem), path
            )
            lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise LsnsError(f"{path} could not be locked ({reason_of(error)})") from error
        logger.warning(
            "%s cannot be locked here (%s); let no two runs write there at once",
            path.parent,
            reason_of(error),
        )
    try:
        yield
    finally:
        # The system lets go of it with the process at the latest.
        with suppress(OSError):
            lock.release()


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        LsnsError: it is there and cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        pass
    except OSError as error:
        raise LsnsError(f"{path} could not be removed ({reason_of(error)})") from None


def reason_of(error: OSError) -> str:
    """What the system says went wrong, in words."""
    return error.strerror or type(error).__name__


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
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LsnsError(f"{path} could not be read ({reason_of(error)})") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object in one step."""
    with atomic(path) as temporary:
        temporary.write_text(_json(content, indent=2) + "\n", encoding="utf-8")


def name_part(text: object) -> str:
    """A text as a part of a file's name: what cannot stand there is replaced, and then its digest
    follows, so that two texts never become one. Most texts stay as they are.

    >>> name_part("gpt2"), name_part("../gpt2")
    ('gpt2', '-.-gpt2~6e499fa7')
    """
    given = str(text)
    kept = "".join(c if c.isprintable() and c not in SPECIAL else "-" for c in given)
    kept = f"-{kept[1:]}" if kept.startswith(".") else kept
    return _shortened(kept, given, LONGEST_PART, changed=kept != given or not given)


def name_stem(text: str) -> str:
    """A file's name without its ending, from parts that `name_part` made: not too long."""
    return _shortened(text, text, LONGEST_STEM, changed=False)


def _shortened(text: str, given: str, longest: int, *, changed: bool) -> str:
    encoded = text.encode()
    if not changed and len(encoded) <= longest:
        return text
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{encoded[: longest - 9].decode('utf-8', 'ignore')}~{digest}"


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
    try:
        entry = manifest.get("file")
        expected = entry.get("sha256") if isinstance(entry, dict) else None
        if expected and sha256_file(path) != expected:
            raise LsnsError(f"{path} is not the file that its manifest describes; make it again")
        with path.open("rb") as file:
            return _read_npy(file, path.stat().st_size), manifest
    except OSError as error:
        raise LsnsError(f"{path} could not be read ({reason_of(error)})") from None
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
        self.description = dict(description)

    @property
    def manifest(self) -> dict[str, Any]:
        """What is known of a finished run; empty if it is not finished."""
        manifest = read_json(self.folder / "manifest.json")
        digest = manifest.pop("digest", None)
        sound = digest == digest_of(manifest) and manifest.get("key") == self.key
        return manifest if sound else {}

    def lock(self, what: str = "activations") -> Any:
        """Hold this while filling the store; see `locked`."""
        return locked(self.folder / "lock", what)

    def discard(self) -> None:
        """Remove what was kept, so that it is computed again."""
        for name in ("manifest.json", "moments.npz", "done.npy", "activations.npy"):
            remove(self.folder / name)

    def open_rows(self, shape: tuple[int, int, int]) -> tuple[Array, Array]:
        """Memory-mapped (activations, done) for filling; what an earlier run wrote is kept."""
        data, done = self.folder / "activations.npy", self.folder / "done.npy"
        try:
            # Read-only first, which notices a file cut short: r+ would fill it up with zeros.
            for path in (data, done):
                if path.is_symlink():
                    raise DamagedFileError(f"{path} is a link; what it names is not ours to fill")
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
        try:
            digests = {
                name: sha256_file(self.folder / name)
                for name in names
                if (self.folder / name).exists()
            }
        except OSError as error:
            raise LsnsError(f"{self.folder} could not be read ({reason_of(error)})") from None
        content = {"key": self.key, "of": self.description, "sha256": digests, **details}
        # Of the manifest itself: one that was changed by hand is not believed, whatever it says.
        write_json(self.folder / "manifest.json", {**content, "digest": digest_of(content)})

    def drop_rows(self) -> None:
        """Give up the single activations, e.g. above a size limit; the moments stay."""
        for name in ("activations.npy", "done.npy"):
            remove(self.folder / name)

    def moments(self) -> dict[str, Array]:
        """The arrays that `finish` wrote.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        path = self.folder / "moments.npz"
        self._check("moments.npz")
        try:
            return read_arrays(path)
        except OSError as error:
            raise LsnsError(f"{path} could not be read ({reason_of(error)})") from None

    def activations(self) -> Array | None:
        """All rows, memory-mapped read-only; None if they were not kept.

        Raises:
            DamagedFileError: they are cut short or have other bytes.
        """
        path = self.folder / "activations.npy"
        if not path.exists():
            return None
        self._check("activations.npy")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise LsnsError(f"{path} could not be read ({reason_of(error)})") from None

    def _check(self, name: str) -> None:
        path = self.folder / name
        expected = self.manifest.get("sha256", {}).get(name)
        try:
            sound = path.is_file() and expected is not None and sha256_file(path) == expected
        except OSError as error:
            raise LsnsError(f"{path} could not be read ({reason_of(error)})") from None
        if not sound:
            raise DamagedFileError(str(path))


def _new_rows(path: Path, dtype: Any, shape: tuple[int, ...]) -> Array:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    except OSError as error:
        raise LsnsError(f"{path} could not be written ({reason_of(error)})") from error


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
