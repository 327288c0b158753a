"""What a lesion should harm and spare: by its network, or as it is said."""

from __future__ import annotations

import pytest

from lsns import LsnsError
from lsns.evaluation.expectation import check_expected, harms
from lsns.specs import Expect

DOMAIN = {"pairs": "language", "sums": "multiple-demand", "facts": "other"}


@pytest.mark.parametrize(
    ("said", "network", "expected"),
    [
        ({}, "language", {"pairs": True, "sums": False, "facts": False}),
        ({}, "multiple-demand", {"pairs": False, "sums": True, "facts": False}),
        # A mask that does not say is one of language; of a contrast of one's own nothing is known,
        # nor is it of one that happens to be called as what is of no network.
        ({}, None, {"pairs": True, "sums": False, "facts": False}),
        ({}, "mine", dict.fromkeys(DOMAIN)),
        ({}, "other", dict.fromkeys(DOMAIN)),
        # What is said holds for every network; one side alone leaves the rest to the other.
        ({"harm": ("facts",)}, "language", {"pairs": False, "sums": False, "facts": True}),
        ({"spare": ("facts",)}, "mine", {"pairs": True, "sums": True, "facts": False}),
        (
            {"harm": ("sums",), "spare": ("facts",)},
            "language",
            {"pairs": None, "sums": True, "facts": False},
        ),
    ],
)
def test_by_the_network_or_as_it_is_said(said, network, expected):
    expect = Expect(**said)
    assert {
        name: harms(expect, network, name, domain) for name, domain in DOMAIN.items()
    } == expected


def test_what_cannot_be_expected_is_one_line():
    with pytest.raises(LsnsError, match="no benchmark 'beliefs' is run; there are pairs, sums"):
        check_expected(Expect(harm=("beliefs",)), ["pairs", "sums"])
    with pytest.raises(LsnsError, match=r"cannot have 'sums', which stands in expect\.harm"):
        Expect(harm=("sums",), spare=("sums",))
