"""Published stimulus sets: read them, and fetch them from a pinned commit.

The language localizer used in fMRI (https://doi.org/10.1152/jn.00032.2010), as kept in a public
repository under the MIT licence: ten CSV files, each row an item with a number, twelve words and
a label, S for a sentence and N for a string of nonwords.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast, clip
from lsns.stimuli.files import read_cells
from lsns.store import atomic, prepare_folder, sha256_file

LANGLOC_URL = (
    "https://raw.githubusercontent.com/brain-score/language/"
    "0e0bb4a2d8df5d3c30fe26ec4528f27a188e1cdc/"
    "brainscore_language/data/fedorenko2010_localization"
)
LANGLOC_SHA256: Mapping[str, str] = {
    f"langloc_fmri_run{run}_stim_set{number}.csv": digest
    for (run, number), digest in {
        (1, 1): "6a545fd8033bcddeaf465a6013f65ed511a2aaf537e493a83cb2515989d8316f",
        (1, 2): "d480f698da43ce58a579230dc93145a287da0c0a21266628dee725dc247766b4",
        (1, 3): "cfcd11f6e7879b4b5d038ec16946e8a685527d6f7f176aca5d6565a266a8c4d4",
        (1, 4): "04dfcd8ceef370ed71d2a065d05d833d7c6028d4a4f87afaf8455b204eb8bd5a",
        (1, 5): "4ded965faa4af50afb3ea47ce7df270957d2c27035a7d6c4a6c7e71ff48a2641",
        (2, 1): "39c1c98a856b87a0f927d907a736f00d0631ba37a70768ffcad4eea70a810509",
        (2, 2): "aaad394e427c603d932cef9a072c4046f24b72ad354898cc2d5382267f601a2a",
        (2, 3): "f62ad8c191478278365d664dc111c7bfd6cfe5590bea6f16bc27f86ec2f54f7b",
        (2, 4): "4f03100af15982eeba419bcd457f0a2d4f10ae08d61c5c49cc4f8ad97ec1719a",
        (2, 5): "e52ca8c5cd341fcb8fbc7841c584c4d4e162fa4b3405e1178ccdbb4eec07fe4b",
    }.items()
}
PROTOCOL: dict[str, Any] = {"pooling": "last-token", "max_tokens": 12}
WORDS = [f"stim{i}" for i in range(2, 14)]
LABEL = "stim14"
LOOPBACK = (("http", "127.0.0.1"), ("http", "localhost"))
TIMEOUT_SECONDS = 60


def read_langloc(folder: Path) -> Contrast:
    """The language contrast from a folder of the published CSV files, by the published protocol.

    Sentences and nonword strings in lower case, cut to 12 tokens, of which the last is read.
    Files are taken in the order of their names.

    Raises:
        LsnsError: no CSV files, a row that cannot be read (file and line named), or fewer than 2
            items of a kind.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise LsnsError(f"folder {folder} holds no .csv files of the langloc format")
    items = [item for file in files for item in _read_file(file)]
    positive, negative = (tuple(text for label, text in items if label == kind) for kind in "SN")
    found = Contrast("language", positive, negative, **PROTOCOL)
    return replace(found, source=f"langloc CSV files ({len(files)})")


def fetch_langloc(
    folder: Path, *, url: str = LANGLOC_URL, notify: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Download the ten langloc files into `folder`; those that are there and right are kept.

    Raises:
        LsnsError: a file cannot be had, or its SHA-256 is not the pinned one; files that were
            right are kept.
    """
    prepare_folder(folder)
    paths = []
    for name, digest in LANGLOC_SHA256.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            content = _download(f"{url}/{name}", digest)
            with atomic(path) as temporary:
                temporary.write_bytes(content)
            notify(f"fetched {name}")
        paths.append(path)
    return paths


def _download(url: str, digest: str) -> bytes:
    # urllib is enough for ten small files, and honours the usual proxy variables.
    from http.client import HTTPException
    from urllib.parse import urlsplit
    from urllib.request import urlopen

    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in LOOPBACK:
        raise LsnsError(f"{url}: only https addresses are fetched")
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            content = answer.read()
    except (OSError, HTTPException) as error:
        raise LsnsError(f"{url} could not be fetched ({error}); try again when online") from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise LsnsError(f"{url} has SHA-256 {found}, expected {digest}; nothing of it was kept")
    return content


def _read_file(path: Path) -> Iterator[tuple[str, str]]:
    """The label of each item, S or N, and its words."""
    header, rows = read_cells(path, strict=False)
    missing = next((column for column in [*WORDS, LABEL] if column not in header), None)
    if missing is not None:
        raise LsnsError(
            f"{path} is not of the langloc format: no column {missing}; expected the item's "
            "words in stim2 to stim13 and its label (S or N) in stim14"
        )
    for line, row in rows:
        cells = dict(zip(header, map(str.strip, row), strict=False))
        label, words = cells.get(LABEL, ""), list(filter(None, map(cells.get, WORDS)))
        if label not in ("S", "N"):
            shown = clip(label, 60)
            raise LsnsError(f"{path}, line {line}: label {shown!r} in stim14 is neither S nor N")
        if len(words) != len(WORDS):
            raise LsnsError(f"{path}, line {line}: {len(words)} words, expected 12")
        yield label, " ".join(words).lower()
