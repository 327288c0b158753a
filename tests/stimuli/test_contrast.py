"""Contrasts: what is refused, and what makes two of them the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from lsns.errors import LsnsError
from lsns.stimuli.contrast import Contrast, parse_pooling

CONTRAST = Contrast("mine", ("a b", "c", "ü"), ("x", "y"), ("1", "2", "2"), ("1", "2"))


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(LsnsError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("last-token", "last-token"), ("last", "last-token"), ("mean", "mean"), ("sum", "sum")],
)
def test_poolings(name: str, pooling: str) -> None:
    assert parse_pooling(name) == pooling


@pytest.mark.parametrize("name", ["", "first", "Mean", "last_token"])
def test_an_unknown_pooling_is_refused(name: str) -> None:
    message = refusal(lambda: parse_pooling(name))
    assert repr(name) in message
    assert "last-token, mean, sum" in message


def test_texts_and_groups_have_the_positive_ones_first() -> None:
    assert CONTRAST.texts == ("a b", "c", "ü", "x", "y")
    assert CONTRAST.groups == ("1", "2", "2", "1", "2")


def test_texts_without_groups_are_groups_of_their_own() -> None:
    plain = Contrast("mine", ("a", "a"), ("a", "b"))
    assert len(set(plain.groups)) == 4
    half = Contrast("mine", ("a", "a"), ("a", "b"), negative_groups=("1", "1"))
    assert len(set(half.groups[:2])) == 2
    assert half.groups[2:] == ("1", "1")


def test_lists_do_as_well_as_tuples() -> None:
    listed: Any = ["a b", "c", "ü"], ["x", "y"], ["1", "2", "2"]
    found = Contrast("mine", listed[0], CONTRAST.negative, listed[2], CONTRAST.negative_groups)
    assert tuple(found.texts) == CONTRAST.texts
    assert tuple(found.groups) == CONTRAST.groups
    assert found.digest == CONTRAST.digest


def test_a_contrast_is_frozen() -> None:
    field = "name"
    with pytest.raises(FrozenInstanceError):
        setattr(CONTRAST, field, "yours")


@pytest.mark.parametrize(
    "change",
    [
        {"positive": ("a b", "c", "u")},
        {"positive": ("a b", "ü", "c")},
        {"positive": ("a b", "c ", "ü")},
        {"positive": ("x", "c", "ü"), "negative": ("a b", "y")},
        {"negative": ("y", "x")},
        {"positive_groups": ("1", "2", "3")},
        {"positive_groups": ("2", "1", "2")},
        {"positive_groups": None},
        {"negative_groups": ("2", "1")},
        {"positive_groups": None, "negative_groups": None},
    ],
)
def test_the_digest_changes_with_texts_conditions_groups_and_order(change: dict[str, Any]) -> None:
    assert replace(CONTRAST, **change).digest != CONTRAST.digest


def test_the_digest_changes_when_a_text_moves_to_the_other_condition() -> None:
    moved = (
        Contrast("mine", ("a", "b", "c"), ("d", "e")),
        Contrast("mine", ("a", "b"), ("c", "d", "e")),
    )
    swapped = Contrast("mine", ("d", "e"), ("a", "b", "c"))
    assert len({contrast.digest for contrast in (*moved, swapped)}) == 3


@pytest.mark.parametrize(
    "change", [{"name": "yours"}, {"max_tokens": 3}, {"pooling": "mean"}, {"source": "a file"}]
)
def test_the_digest_is_of_the_stimuli_alone(change: dict[str, Any]) -> None:
    assert replace(CONTRAST, **change).digest == CONTRAST.digest


@pytest.mark.parametrize("condition", ["positive", "negative"])
@pytest.mark.parametrize("texts", [(), ("a",)])
def test_a_condition_of_fewer_than_two_texts_is_refused(
    condition: str, texts: tuple[str, ...]
) -> None:
    arguments: dict[str, Any] = {"positive": ("a", "b"), "negative": ("a", "b"), condition: texts}
    message = refusal(lambda: Contrast("mine", **arguments))
    assert f"'mine' has {len(texts)} {condition} texts" in message
    assert "at least 2" in message


@pytest.mark.parametrize("condition", ["positive", "negative"])
@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000"])
def test_an_empty_text_is_refused(condition: str, text: str) -> None:
    arguments: dict[str, Any] = {"positive": ("a", "b"), "negative": ("a", "b")}
    arguments[condition] = ("a", text, "c")
    assert f"{condition} text 2 is empty" in refusal(lambda: Contrast("mine", **arguments))


@pytest.mark.parametrize("condition", ["positive", "negative"])
@pytest.mark.parametrize("groups", [(), ("1",), ("1", "1", "1", "1")])
def test_groups_that_do_not_fit_are_refused(condition: str, groups: tuple[str, ...]) -> None:
    message = refusal(lambda: replace(CONTRAST, **{f"{condition}_groups": groups}))
    n = len(getattr(CONTRAST, condition))
    assert f"{len(groups)} groups for {n} {condition} texts" in message


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_texts_cannot_be_cut_to_nothing(max_tokens: int) -> None:
    message = refusal(lambda: replace(CONTRAST, max_tokens=max_tokens))
    assert message == f"max-tokens must be at least 1; got {max_tokens}"


@pytest.mark.parametrize("texts", [(1, 2), (None, "a"), "words"])
def test_what_is_not_texts_is_refused(texts: Any) -> None:
    refusal(lambda: Contrast("mine", texts, ("a", "b")))


def test_a_text_that_is_no_unicode_is_refused() -> None:
    # Half a surrogate pair, which no tokenizer takes.
    assert "positive text 2" in refusal(lambda: Contrast("mine", ("a", "b\ud83d"), ("a", "b")))
