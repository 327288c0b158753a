"""What is measured: benchmarks by their names. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import (
    DOMAINS,
    MULTIPLE_DEMAND,
    OTHER,
    THEORY_OF_MIND,
    Benchmark,
    shipped,
)
from lsns.evaluation.minimal_pairs import MinimalPairs
from lsns.evaluation.perplexity import Perplexity
from lsns.evaluation.syntaxgym import SyntaxGym

_KNOWN = "minimal-pairs, minimal-pairs:PATH, beliefs, sums, facts, blimp, blimp:FOLDER, " + (
    "syntaxgym:FOLDER, perplexity, perplexity:FILE, lm-eval:TASK"
)
# Pairs that ship with the package beside the minimal pairs, and what they ask for.
_SHIPPED = {"beliefs": THEORY_OF_MIND, "sums": MULTIPLE_DEMAND, "facts": OTHER}


def parse_benchmarks(texts: str | Sequence[str], *, limit: int | None = None) -> list[Benchmark]:
    """Benchmarks by their specifications, each under a name of its own.

    Args:
        texts: `minimal-pairs`, `minimal-pairs:PATH`, `beliefs`, `sums`, `facts`, `blimp`,
            `blimp:FOLDER`, `syntaxgym:FOLDER`, `perplexity`, `perplexity:FILE` or `lm-eval:TASK`,
            one or several; `language=`, `theory-of-mind=`, `multiple-demand=` or `other=` in front
            says what a benchmark asks for. By default beliefs ask for theory of mind, sums for
            multiple demand, facts and the tasks of lm-eval for something else, and all others for
            language.
        limit: how many items of each paradigm are used at most, the first ones; None: all.

    Raises:
        LsnsError: no benchmark, one that is unknown or given twice, or a folder or file that is
            not there or is empty.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if not texts:
        raise LsnsError(f"no benchmark; use one of {_KNOWN}")
    made = [_parse(text, limit) for text in texts]
    # A file that is not there is told of before anything runs: the digest reads it.
    digests = [one.digest for one in made]
    twice = next((i for i, digest in enumerate(digests) if digest in digests[:i]), None)
    if twice is not None:
        raise LsnsError(f"benchmark {texts[twice]!r} is given twice; leave one out")
    names = [one.name for one in made]
    return [
        replace(one, name=f"{one.name}:{one.argument}")
        if names.count(one.name) > 1 and one.argument
        else one
        for one in made
    ]


def check_items(benchmarks: Sequence[Benchmark]) -> None:
    """Read the items of benchmarks: one that cannot be read is told of before the model runs.

    Raises:
        LsnsError: items that cannot be read.
    """
    for benchmark in benchmarks:
        _ = benchmark.size


def _parse(text: str, limit: int | None) -> Benchmark:
    front, mark, rest = text.partition("=")
    domain, spec = (front, rest) if mark and front in DOMAINS else (None, text)
    made = _make(spec, limit)
    return made if domain is None else replace(made, domain=domain)


def _make(spec: str, limit: int | None) -> Benchmark:
    kind, _, argument = spec.partition(":")
    if spec == "blimp":
        from lsns.evaluation.blimp import Blimp

        return Blimp(kind, argument, limit)
    if spec in _SHIPPED:
        return MinimalPairs(kind, str(shipped(f"{spec}.jsonl")), limit, _SHIPPED[spec])
    if kind == "minimal-pairs" or (kind == "blimp" and argument):
        return MinimalPairs(kind, argument, limit)
    if kind == "syntaxgym" and argument:
        return SyntaxGym(kind, argument, limit)
    if kind == "perplexity":
        return Perplexity(kind, argument, limit)
    if kind == "lm-eval" and argument:
        from lsns.evaluation.harness import HarnessTask

        return HarnessTask(argument, argument, limit, OTHER)
    raise LsnsError(f"no benchmark {spec!r}; use one of {_KNOWN}")
