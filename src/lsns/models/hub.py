"""Repositories of the hub: what of them is on this machine, and how the rest gets here.

The hub's own cache is read as it lies on disk: `refs/<branch or tag>` names a commit, and
`snapshots/<commit>` holds its files. The hub's client is imported only where the hub is asked, for
that takes as long as all else of a second run.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

from lsns.errors import LsnsError
from lsns.models.files import WEIGHTS, weights_among, weights_of
from lsns.store import atomic

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS = 20
COMMIT = re.compile(r"[0-9a-f]{40}")
# What git takes for the beginning of a commit.
ABBREVIATED = re.compile(r"[0-9a-f]{4,40}")
# Branches, tags and refs/pr/1; no way out of the folder of refs.
REF = re.compile(r"(?!.*\.\.)\w[\w./+-]*")
# Configuration, tokenizer and code of a model.
SMALL_FILES = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken", ".spm", ".vocab", ".bpe")
TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "*.spm", "*.bpe")
OFFLINE = "the hub cannot be reached (HF_HUB_OFFLINE is set)"
# As the client of the hub's client calls it, whichever it is.
CUT = ("RemoteProtocolError", "ReadError", "ReadTimeout", "ChunkedEncodingError")
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, and the files of it that are wanted.

    Attributes:
        name: its hub id.
        revision: branch, tag or commit, which may be abbreviated; None for the default branch.
        kind: `model` or `dataset`.
        pattern: shell pattern for the names of the files that are wanted.
        number: how many files of the repository have such names.
        title: what it is called in messages; by default by its kind and name.
        instead: what to do where there is no hub.
    """

    name: str
    revision: str | None = None
    kind: Literal["model", "dataset"] = "model"
    pattern: str = "*"
    number: int = 1
    title: str = ""
    instead: str = "give a folder or a .gguf file, or smollm2-135m, which needs no hub"

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or f"{self.kind} {self.name!r}")

    def missing(self, folder: Path) -> str | None:
        """What a snapshot lacks of what is wanted, in words; None if it is whole."""
        found = len(list(folder.glob(self.pattern)))
        return f"{self.number - found} files" if found < self.number else None

    def choose(self, names: list[str], commit: str) -> list[list[str]]:
        """Of the names of all files, those that are wanted, in batches to be had in turn."""
        return [[name for name in names if fnmatch(name, self.pattern)]]

    def get(self) -> Path:
        """The whole snapshot of `revision`: the one that is on this machine, else downloaded.

        Raises:
            LsnsError: it could not be had.
        """
        return self.here() or self.fetch(self.ask())

    def here(self) -> Path | None:
        """The snapshot of `revision` that is on this machine, whole, found without asking the hub.

        Where `HF_HUB_OFFLINE` is set and no revision was asked for, any that is here will do.

        Raises:
            LsnsError: several commits on this machine begin with `revision`.
        """
        from huggingface_hub import constants

        commit = self._commit_here()
        folder = None if commit is None else self._whole(commit)
        return self._newest(OFFLINE) if folder is None and constants.HF_HUB_OFFLINE else folder

    def ask(self) -> str:
        """The commit that the hub has for `revision`, which is remembered.

        Where the hub is of no help and no revision was asked for, the newest that is here is taken.

        Raises:
            LsnsError: there is none that could be used.
        """
        # An abbreviation of what has come in part: the hub may not know abbreviations.
        known = self._commit_here() if self._abbreviates() else None
        try:
            commit = self._info(known or self.revision).sha
        except Exception as error:  # which ones the client raises changes with its version
            return self._without_hub(error)
        if commit is None:
            raise LsnsError(f"the hub names no commit of {self.title}; give one with --revision")
        self._remember(commit)
        return commit

    def fetch(self, commit: str) -> Path:
        """The whole snapshot of a commit; what is missing of it is downloaded.

        Raises:
            LsnsError: it could not be downloaded, or the hub has not all that is wanted.
        """
        return self._whole(commit) or self._download(commit)

    def _newest(self, why: str) -> Path | None:
        """The whole snapshot that came to this machine last, where any revision will do."""
        found = [folder for commit in self._commits() if (folder := self._whole(commit))]
        if self.revision is not None or not found:
            return None
        newest = max(found, key=lambda folder: folder.stat().st_mtime_ns)
        _say_once(f"{self.title}: {why}; using {newest.name[:12]}, the newest on this machine")
        return newest

    def _whole(self, commit: str) -> Path | None:
        folder = self._snapshot(commit)
        return folder if folder.is_dir() and self.missing(folder) is None else None

    def _cache(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE) / f"{self.kind}s--{self.name.replace('/', '--')}"

    def _snapshot(self, commit: str) -> Path:
        return self._cache() / "snapshots" / commit

    def _commits(self) -> list[str]:
        there = self._snapshot("").glob("*")
        return [folder.name for folder in there if COMMIT.fullmatch(folder.name)]

    def _commit_here(self) -> str | None:
        ref = self._ref()
        if ref is not None and ref.is_file():
            commit = ref.read_text(encoding="utf-8", errors="replace").strip()
            return commit if COMMIT.fullmatch(commit) else None
        if not self._abbreviates():
            return None
        found = [c for c in self._commits() if c.startswith(str(self.revision).lower())]
        if len(found) > 1:
            raise LsnsError(
                f"revision {self.revision!r} of {self.title} could be any of "
                f"{', '.join(sorted(found))}; give more of it"
            )
        return found[0] if found else None

    def _abbreviates(self) -> bool:
        return bool(ABBREVIATED.fullmatch((self.revision or "").lower()))

    def _ref(self) -> Path | None:
        name = self.revision or "main"
        return self._cache() / "refs" / name if REF.fullmatch(name) else None

    def _remember(self, commit: str) -> None:
        """So that the next run finds it without asking, and where there is no network."""
        ref = self._ref()
        if ref is None or (self.revision and commit.startswith(self.revision.lower())):
            return
        # The cache may be shared and not ours to write.
        with suppress(LsnsError), atomic(ref) as temporary:
            temporary.write_text(commit, encoding="utf-8")

    def _info(self, revision: str | None) -> Any:
        from huggingface_hub import HfApi

        options: dict[str, Any] = {"repo_type": self.kind, "timeout": TIMEOUT_SECONDS}
        options |= {"revision": revision, "files_metadata": True}
        return HfApi().repo_info(self.name, **options)

    def _without_hub(self, error: Exception) -> str:
        what, advice = self._explain(error)
        if newest := self._newest(what):
            return newest.name
        commit = self._commit_here()
        part = commit and self.missing(self._snapshot(commit))
        state = f"only in part ({part} missing)" if part else "not"
        at = f" at revision {self.revision!r}" if self.revision else ""
        raise LsnsError(f"{self.title}{at} is {state} on this machine, and {what}; {advice}")

    def _download(self, commit: str) -> Path:
        from huggingface_hub import snapshot_download
        from tqdm import tqdm

        folder, begun, at = self._snapshot(commit), time.monotonic(), f"at {commit[:12]}"
        try:
            sizes = {file.rfilename: file.size or 0 for file in self._info(commit).siblings or []}
            batches = self.choose(list(sizes), commit)
            left = [name for batch in batches for name in batch if not (folder / name).is_file()]
            # What is had in no time is had without a word.
            said = not all(map(_is_small, left))
            if said:
                size = tqdm.format_sizeof(sum(sizes[name] for name in left), "B")
                logger.info("downloading %s %s: %d files, %s", self.title, at, len(left), size)
            with _bars():
                for batch in batches:
                    snapshot_download(
                        self.name, revision=commit, repo_type=self.kind, allow_patterns=batch
                    )
        except LsnsError:
            raise
        except Exception as error:  # which ones the client raises changes with its version
            what, advice = self._explain(error)
            raise LsnsError(
                f"the download of {self.title} broke off: {what}; {advice}; "
                "the same command goes on with what is missing"
            ) from None
        if lacking := self.missing(folder):
            raise LsnsError(f"{self.title} {at} on the hub has no {lacking}")
        if said:
            logger.info("downloaded %s in %.0f s", self.title, time.monotonic() - begun)
        return folder

    def _explain(self, error: BaseException) -> tuple[str, str]:
        """What went wrong with the hub, and what to do."""
        from huggingface_hub import constants, errors

        while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
            error = error.__cause__
        page = f"{constants.ENDPOINT}/{'' if self.kind == 'model' else 'datasets/'}{self.name}"
        log_in = "log in with `hf auth login`"
        reason = str(error).partition("\n")[0] or type(error).__name__
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
        gated = isinstance(error, errors.GatedRepoError)
        if isinstance(error, errors.RepositoryNotFoundError) and not gated:
            advice = f"check the name (most are owner/name), or {log_in} if it is private"
            return "the hub has none of that name that you may read", advice
        if isinstance(error, errors.RevisionNotFoundError):
            return "the hub has no such revision of it", f"branches and tags are listed at {page}"
        if gated or status in (401, 403):
            what = f"the hub does not let you have it ({status}: gated, or no valid log-in)"
            return what, f"ask for access at {page}, and {log_in}"
        if status == 429:
            advice = f"wait some minutes, or {log_in}, and try again"
            return "the hub is asked too often from here (429)", advice
        if status:
            fault = "a fault of its own" if status >= 500 else "another answer than expected"
            return f"the hub has {fault} ({status})", f"try again later, or {self.instead}"
        if isinstance(error, errors.HFValidationError):
            return "its name is no possible hub id", self.instead
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            what = f"{error.filename or constants.HF_HUB_CACHE} could not be written"
            advice = "make room or have it opened, or choose another place with HF_HOME"
            return f"{what} ({error.strerror})", advice
        if type(error).__name__ in CUT:
            return f"the connection was cut ({reason})", "try again"
        if isinstance(error, errors.OfflineModeIsEnabled):
            return OFFLINE, self.instead
        return f"the hub cannot be reached ({reason})", self.instead


@dataclass(frozen=True)
class ModelRepository(Repository):
    """A model: configuration and tokenizer, and weights if they are wanted.

    Attributes:
        weights: whether weights are wanted.
    """

    weights: bool = True

    def missing(self, folder: Path) -> str | None:
        """`config.json`, a tokenizer or weights, where they are not there."""
        if not (folder / "config.json").is_file():
            return "config.json"
        if not any(file.is_file() for pattern in TOKENIZERS for file in folder.glob(pattern)):
            return "tokenizer"
        weights = weights_of(folder)
        lacking = [file.name for file in weights if not file.is_file()]
        if not self.weights or (weights and not lacking):
            return None
        return f"weights ({', '.join(lacking)})" if lacking else "weights"

    def choose(self, names: list[str], commit: str) -> list[list[str]]:
        """The small files first: where the configuration and weights are, they are, too."""
        from huggingface_hub import hf_hub_download

        if "config.json" not in names:
            raise LsnsError(f"{self.title} holds no model: the hub has no config.json of it")
        small = [name for name in names if _is_small(name) and name != "config.json"]
        if not self.weights:
            return [small, ["config.json"]]
        found = weights_among(
            names, lambda name: Path(hf_hub_download(self.name, name, revision=commit))
        )
        if not found:
            raise LsnsError(
                f"{self.title} has no weights that transformers reads on the hub (one of "
                f"{', '.join(WEIGHTS)}); choose another, or {self.instead}"
            )
        return [small, ["config.json", *found]]


def _is_small(name: str) -> bool:
    """Code may lie in folders; other frameworks' copies do."""
    wanted = name.endswith(SMALL_FILES) and not name.endswith(".index.json")
    return wanted and ("/" not in name or name.endswith((".py", ".jinja")))


@cache
def _say_once(message: str) -> None:
    """A model's files are looked for more than once in a run."""
    logger.info(message)


@contextmanager
def _bars() -> Generator[None]:
    """The hub's own bars on a terminal, and none elsewhere or where nothing is to be reported."""
    from huggingface_hub import utils

    shown = sys.stderr is not None and sys.stderr.isatty() and logger.isEnabledFor(logging.WARNING)
    with ExitStack() as stack:
        if not shown and not utils.are_progress_bars_disabled():
            utils.disable_progress_bars()
            stack.callback(utils.enable_progress_bars)
        yield
