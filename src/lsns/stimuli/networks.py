"""The built-in networks, and `load_contrast`: a contrast by name, folder or file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast
from lsns.stimuli.files import read_contrast
from lsns.stimuli.published import PROTOCOL, read_langloc

DATA = Path(__file__).parent / "data"
# The published protocols ("The LLM Language Network", arXiv 2411.02280).
NETWORKS: dict[str, dict[str, Any]] = {
    "language": PROTOCOL,
    "theory-of-mind": {"pooling": "mean", "max_tokens": None},
    "multiple-demand": {"pooling": "mean", "max_tokens": None},
}


def load_contrast(name_or_path: str | Path | Any, *, network: str | None = None) -> Contrast:
    """A contrast with the protocol that belongs to it.

    Args:
        name_or_path: `language`, `theory-of-mind` or `multiple-demand`; or a folder of the
            published langloc CSV files; or a CSV, TSV or JSONL file with `text`, `condition`
            and optionally `group`, or a data frame (or mapping) with these columns. `language` has
            further conditions: `scrambled`, `word-lists` and `jabberwocky`; a file has those of
            its rows `further:NAME`.
        network: read a folder, file or table as this network's stimuli: its name and its protocol.

    Raises:
        LsnsError: neither a network nor a file or folder that can be read.
    """
    if network is not None and network not in NETWORKS:
        raise LsnsError(f"no network {network!r}; use one of {', '.join(NETWORKS)}")
    named = {} if network is None else {"name": network, **NETWORKS[network]}
    if not isinstance(name_or_path, (str, Path)):
        return read_contrast(name_or_path, **named)
    if str(name_or_path) in NETWORKS:
        return _built_in(str(name_or_path))
    # Not those of pathlib: what cannot be a path is a file that is not there.
    if os.path.isfile(name_or_path):
        return read_contrast(Path(name_or_path), **named)
    if not os.path.isdir(name_or_path):
        raise LsnsError(
            f"no stimuli {str(name_or_path)!r}: neither a network ({', '.join(NETWORKS)}) "
            "nor a file or folder that is there"
        )
    if network not in (None, "language"):
        raise LsnsError(
            f"folder {name_or_path} is read as langloc, stimuli for language, not for {network}; "
            "give a CSV, TSV or JSONL file"
        )
    return read_langloc(Path(name_or_path))


def _built_in(network: str) -> Contrast:
    named = {"source": f"built-in {network} stimuli", **NETWORKS[network]}
    # A file of their own: that of the contrast stays as it was, to the byte.
    further = DATA / f"{network}-further.csv"
    return read_contrast(DATA / f"{network}.csv", *[further] * further.is_file(), **named)
