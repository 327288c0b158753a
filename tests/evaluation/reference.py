"""The slow, obvious way to score a text: alone, the whole model, nothing shared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from lsns.evaluation.benchmark import Benchmark
from lsns.evaluation.minimal_pairs import MinimalPair, MinimalPairs
from lsns.evaluation.scoring import TextScore, encode_texts, score_tokens


def token_logprobs(model: Any, text: str, front: int | None) -> list[float]:
    """Log-probability of each token in nats, one text at a time; of all but the first with None."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids if front is None else [front, *ids]
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([ids])).logits[0].float()
    table = logits.log_softmax(dim=-1)
    return [float(table[place, token]) for place, token in enumerate(ids[1:])]


def score_texts(
    model: Any,
    texts: list[str],
    *,
    names: list[str] | None = None,
    prefix: str = "auto",
    **options: Any,
) -> list[TextScore]:
    """Scores of texts that are read whole."""
    return score_tokens(model, encode_texts(model, texts, names=names, prefix=prefix), **options)


def run(
    model: Any, benchmark: Benchmark, *, prefix: str = "auto", batch_size: int | None = None,
    **given: Any,
) -> list[Any]:  # fmt: skip
    """The rows of a benchmark; `given` stands for what it would read, such as its items."""
    vars(benchmark).update(given)
    rows = benchmark.run(model, prefix=prefix, batch_size=batch_size)
    return [SimpleNamespace(**row) for row in rows]


def read_pairs(path: str | Path, limit: int | None = None) -> list[MinimalPair]:
    return MinimalPairs("minimal-pairs", str(path), limit).items


def score_pairs(model: Any, pairs: list[MinimalPair], **options: Any) -> list[Any]:
    return run(model, MinimalPairs("pairs"), items=pairs, **options)


def accuracy(rows: list[Any]) -> float:
    """The mean of the paradigms' accuracies."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.paradigm, []).append(row.score)
    return sum(sum(values) / len(values) for values in groups.values()) / len(groups)
