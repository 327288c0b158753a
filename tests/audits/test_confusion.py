"""The verdict on studies whose truth is planted; `benchmarks/verdict.py` has many more of them."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.verdict import WORLDS, findings
from lsns.audits.verdict import decide

STUDIES = 4


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_planted_is_not_said_to_be_its_opposite(name):
    world = WORLDS[name]
    said = Counter(decide(findings(world, seed, shuffles=39)) for seed in range(STUDIES))
    # What may be said beside the truth is that it is open: 5 in 100 may be wrong, of 4 at most one.
    assert said[world.good] + said["open"] >= STUDIES - 1, said
    if name.startswith("honest"):
        assert said["network"] >= STUDIES // 2, said
