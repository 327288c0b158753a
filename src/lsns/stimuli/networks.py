"""The built-in networks, and `load_contrast`: a contrast by name, folder or file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast, Pooling
from lsns.stimuli.files import FORMAT_HELP, add_further, is_table, read_contrast, read_table
from lsns.stimuli.published import LANGLOC_MAX_TOKENS, read_langloc


@dataclass(frozen=True)
class Protocol:
    """How the texts of a network are read, by default."""

    pooling: Pooling
    max_tokens: int | None


# The published protocols ("The LLM Language Network", arXiv 2411.02280).
NETWORKS = {
    "language": Protocol("last-token", LANGLOC_MAX_TOKENS),
    "theory-of-mind": Protocol("mean", None),
    "multiple-demand": Protocol("mean", None),
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
    named: dict[str, Any] = {}
    if network is not None:
        named = {"name": network, **vars(NETWORKS[network])}
    if not isinstance(name_or_path, (str, Path)):
        if is_table(name_or_path):
            return read_table(name_or_path, **named)
        raise LsnsError(
            "a contrast is an lsns.Contrast, a network's name, a folder or file, or a table with "
            f"{FORMAT_HELP}; found {type(name_or_path).__name__}"
        )
    if str(name_or_path) in NETWORKS:
        return _built_in(str(name_or_path))
    path = Path(name_or_path)
    try:
        path.stat()
    except (OSError, ValueError):
        raise LsnsError(
            f"no stimuli {str(name_or_path)!r}: neither a network ({', '.join(NETWORKS)}) "
            "nor a file or folder that is there"
        ) from None
    if path.is_dir():
        if network not in (None, "language"):
            raise LsnsError(
                f"folder {path} is read as langloc, stimuli for language, not for {network}; "
                "give a CSV, TSV or JSONL file"
            )
        return read_langloc(path, name=network or "language")
    if path.is_file():
        return read_contrast(path, **named)
    raise LsnsError(f"{path} is neither a folder nor a file")


def _built_in(network: str) -> Contrast:
    protocol = NETWORKS[network]
    data = resources.files("lsns.stimuli") / "data"
    with resources.as_file(data / f"{network}.csv") as path:
        contrast = read_contrast(
            path,
            name=network,
            max_tokens=protocol.max_tokens,
            pooling=protocol.pooling,
            source=f"built-in {network} stimuli",
        )
    # A file of their own: that of the contrast stays as it was, to the byte.
    further = data / f"{network}-further.csv"
    if not further.is_file():
        return contrast
    with resources.as_file(further) as path:
        return add_further(contrast, path)
