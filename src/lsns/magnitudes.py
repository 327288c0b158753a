"""`Magnitudes`: how large units are over all tokens of ordinary text, where lesions act as well.

A localizer reads each text at one token or on average, and may cut it. A lesion acts at every
token, the first one among them, at which the largest activations of many models sit ("Massive
Activations in Large Language Models", arXiv 2402.17762).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lsns.chunks import plan_chunks
from lsns.engines import Engine
from lsns.errors import LsnsError
from lsns.models.prefix import Front, resolve_prefix
from lsns.models.subject import Subject
from lsns.store import DamagedFileError, Store, digest_of
from lsns.work import Chunk, run

if TYPE_CHECKING:
    from lsns.models.base import BaseModel

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

# Raised when what is computed changes.
_VERSION = 1
# Enough for averages over tokens; a longer text is cut, so that no text costs more than a minute.
MOST_TEXTS = 128
MOST_TOKENS = 1024
_CHUNK_TEXTS = 16


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """How large each unit is over the tokens of ordinary text; (n_layers, hidden_size) each.

    Attributes:
        mean: mean of |x| over all tokens.
        mean_square: mean of the square of x over all tokens.
        maximum: largest |x| at any token.
        first: mean of |x| at the first position, where the prefix of benchmark texts stands.
        first_square: mean of the square of x there.
        manifest: number of `texts` that were read, `of` how many different ones, their `tokens`,
            and the `prefix` in front of each (None: nothing).
    """

    mean: Float[Array, "n_layers hidden_size"]
    mean_square: Float[Array, "n_layers hidden_size"]
    maximum: Float[Array, "n_layers hidden_size"]
    first: Float[Array, "n_layers hidden_size"]
    first_square: Float[Array, "n_layers hidden_size"]
    manifest: Mapping[str, Any]


def known_magnitudes(
    folder: Path, fingerprint: Mapping[str, Any], texts: Sequence[str]
) -> Magnitudes | None:
    """What `measure_magnitudes` would return, if it is kept in the folder of results."""
    return _load(_store(folder, fingerprint, _sample(texts)))


def measure_magnitudes(
    folder: Path,
    fingerprint: Mapping[str, Any],
    texts: Sequence[str],
    subject: Subject,
    engine: Engine,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Magnitudes:
    """How large the units of a model are: as kept in a folder, else by running the model.

    Texts are read whole (but for what is beyond 1024 tokens), after what stands in front of
    benchmark texts by default. Of more than 128 different texts so many are read, at even distances
    in alphabetical order.

    Args:
        folder: the folder of results.
        fingerprint: all of the model that determines results; see `lsns.models.subject`.
        texts: ordinary text, in any order; what is there twice counts once.
        subject: the model.
        engine: computes.
        overwrite: run the model again.
        progress: show a bar while the model runs.
    """
    sample = _sample(texts)
    store = _store(folder, fingerprint, sample)
    with store.alone(f"magnitudes in {subject.given.name}"):
        if overwrite:
            store.discard()
        found = _load(store)
        if found is None:
            _fill(store, subject, sample, len(set(texts)), engine, progress)
            found = _load(store)
    if found is None:
        raise LsnsError(f"{store.folder} was changed while it was written; run again")
    return found


def _sample(texts: Sequence[str]) -> list[str]:
    different = sorted(set(texts))
    most = min(len(different), MOST_TEXTS)
    return [
        different[place] for place in np.linspace(0, len(different) - 1, most).round().astype(int)
    ]


def _store(folder: Path, fingerprint: Mapping[str, Any], sample: Sequence[str]) -> Store:
    read = {"texts": list(sample), "prefix": "auto", "most_tokens": MOST_TOKENS}
    return Store(folder / "magnitudes", {"magnitudes": _VERSION, **fingerprint, **read})


def _load(store: Store) -> Magnitudes | None:
    manifest = store.manifest
    if not manifest:
        return None
    try:
        return Magnitudes(**store.moments(), manifest=manifest["run"])
    except DamagedFileError as error:
        logger.warning("cached file %s is damaged; made again", error)
        store.discard()
        return None


def _fill(
    store: Store, subject: Subject, sample: Sequence[str], of: int, engine: Engine, progress: bool
) -> None:
    from lsns.activations import TokenSums, add_sums

    model = subject.load()
    front = _front(model)
    tokens = _tokens(model, sample, front)
    model.check_ids(tokens)
    planned = plan_chunks(tokens, size=_CHUNK_TEXTS)
    tasks = [[tokens[index] for index in indexes] for indexes in planned]
    chunks = [Chunk(task, len(task), store, digest_of({"tokens": task})) for task in tasks]
    parts: dict[int, Array] = {}
    run(engine, TokenSums(subject), chunks, parts.__setitem__, folder=store.folder, shown=progress)
    # In the order of the chunks: the same bytes for any number of workers.
    total = add_sums([parts[place] for place in sorted(parts)])
    number = sum(map(len, tokens))
    arrays = {
        "mean": total[0] / number, "mean_square": total[1] / number, "maximum": total[2],
        "first": total[3] / len(tokens), "first_square": total[4] / len(tokens),
    }  # fmt: skip
    note = {"texts": len(tokens), "of": of, "tokens": number, "prefix": front.token}
    store.finish(arrays, {"run": note})


def _front(model: BaseModel) -> Front:
    """The prefix of benchmark texts; nothing for a model that has none."""
    nothing = resolve_prefix(model.tokenizer, "none")
    try:
        front = resolve_prefix(model.tokenizer)
    except LsnsError:
        return nothing
    known = model.n_embeddings
    return nothing if known is not None and (front.token_id or 0) >= known else front


def _tokens(model: BaseModel, sample: Sequence[str], front: Front) -> list[list[int]]:
    from lsns.models.loading import quiet_transformers

    most = min(MOST_TOKENS, model.context_length or MOST_TOKENS)
    with quiet_transformers():
        encoded = model.tokenizer(list(sample), add_special_tokens=False)["input_ids"]
    read = [[*front.before(list(ids)), *ids][:most] for ids in encoded]
    # A text of nothing but special tokens has none of its own.
    return [ids for ids in read if ids] or [[0]]
