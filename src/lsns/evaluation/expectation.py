"""What a lesion should harm, and what it should spare: by its network, or as it is said.

By default a lesion should harm the benchmarks of its network's own domain and spare the others. Of
a contrast of one's own nothing is expected unless it is said; a mask that does not say where it
comes from is taken for one of language.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from lsns.errors import LsnsError
from lsns.evaluation.benchmark import DOMAINS, LANGUAGE, OTHER
from lsns.specs import Expect


class _About(Protocol):
    @property
    def benchmark(self) -> str: ...

    @property
    def domain(self) -> str: ...


Found = TypeVar("Found", bound=_About)


def check_expected(expect: Expect, names: Iterable[str]) -> None:
    """Raise an `LsnsError` for a name in `expect` that no benchmark has."""
    known = list(names)
    unknown = next((name for name in (*expect.harm, *expect.spare) if name not in known), None)
    if unknown is not None:
        raise LsnsError(
            f"expect: no benchmark {unknown!r} is run; there are {', '.join(known) or 'none'}"
        )


def harms(expect: Expect, network: str | None, benchmark: str, domain: str) -> bool | None:
    """Whether a lesion should harm a benchmark (False: spare it); None: nothing is expected.

    Args:
        expect: what was said; empty: the network decides.
        network: whose units are lesioned; None: the mask does not say.
        benchmark: its name.
        domain: its domain.
    """
    if expect.harm or expect.spare:
        if benchmark in (*expect.harm, *expect.spare):
            return benchmark in expect.harm
        return None if expect.harm and expect.spare else not expect.harm
    own = LANGUAGE if network is None else network
    return domain == own if own in DOMAINS and own != OTHER else None


def sides(
    expect: Expect, network: str | None, found: Sequence[Found]
) -> tuple[list[Found], list[Found]]:
    """Those that a lesion of the network should harm, and those that it should spare."""
    expected = [(one, harms(expect, network, one.benchmark, one.domain)) for one in found]
    return [one for one, harm in expected if harm], [one for one, harm in expected if harm is False]
