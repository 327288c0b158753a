"""Contrasts: what is refused, and what makes two of them the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    plain = Contrast("mine", ("a", "b"), ("c", "d"))
    assert len(set(plain.groups)) == 4
    half = Contrast("mine", ("a", "b"), ("c", "d"), negative_groups=("1", "1"))
    assert len(set(half.groups[:2])) == 2
    assert half.groups[2:] == ("1", "1")


def test_equal_texts_are_of_one_group() -> None:
    plain = Contrast("mine", ("a", "b", "a"), ("c", "d", "c", "c"))
    assert plain.firsts == (0, 1, 0, 3, 4, 3, 3)
    assert plain.repeated == 3
    first, second, third, *negative = plain.groups
    assert first == third != second
    assert negative[0] == negative[2] == negative[3] != negative[1]
    assert len(set(plain.groups)) == 4


def test_groups_that_share_a_text_are_joined_over_others() -> None:
    """Pairs 1 and 2 share a positive text, 2 and 3 a negative one: all three are one group."""
    given: Any = ("3", "2", "1", "4"), ("1", "2", "3", "4")
    found = Contrast("mine", ("b", "a", "a", "d"), ("w", "x", "x", "z"), *given)
    assert found.groups == ("1", "1", "1", "4") * 2
    assert found.given_groups == given[0] + given[1]
    more = replace(found, further={"third": ("p", "q")}, further_groups={"third": ("3", "4")})
    assert more.further_labels == {"third": ("1", "4")}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("1234567")), min_size=2, max_size=30
    )
)
def test_joined_groups_are_the_connected_components(items: list[tuple[str, str]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts, groups = (tuple(column) for column in zip(*items, strict=True))
    found = Contrast("mine", texts, ("x", "y"), groups, ("x", "y")).groups[: len(texts)]
    edges = [("abcdefgh".index(text), 8 + int(group)) for text, group in items]
    rows, columns = zip(*edges, strict=True)
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(16, 16))
    components = connected_components(graph, directed=False)[1][list(rows)]
    for one in range(len(texts)):
        same = [components[one] == other for other in components]
        assert [found[one] == label for label in found] == same


def test_a_text_on_both_sides_is_refused() -> None:
    long = "the same\n" * 50
    message = refusal(lambda: Contrast("mine", ("a", long), (long, "b")))
    assert "both positive and negative" in message
    assert "the same\\nthe same" in message
    assert len(message) < 200


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[2J", "a\u202eb", "\ud800", 7, None])
def test_a_name_is_one_printable_line(name: Any) -> None:
    assert "name" in refusal(lambda: replace(CONTRAST, name=name))


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
    assert f"'mine': {len(texts)} {condition} texts" in message
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


# Further conditions.

FURTHER = {"lists": ("b a", "c d"), "more": ("z", "z", "ü")}
GROUPS = {"more": ("2", "1", "2")}


def test_without_further_conditions_there_are_none() -> None:
    assert (CONTRAST.further, CONTRAST.further_groups) == ((), ())
    assert CONTRAST.further_texts == CONTRAST.further_labels == {}


def with_further(further: Any = FURTHER, groups: Any = ()) -> Contrast:
    return replace(CONTRAST, further=further, further_groups=groups)


@pytest.mark.parametrize(
    "given",
    [FURTHER, tuple(FURTHER.items()), [[name, list(texts)] for name, texts in FURTHER.items()]],
)
def test_further_conditions_keep_their_order(given: Any) -> None:
    found = with_further(given, GROUPS)
    assert found.further == tuple(FURTHER.items())
    assert found.further_groups == tuple(GROUPS.items())
    assert list(found.further_texts.items()) == list(FURTHER.items())
    assert found.further_labels == {"lists": None, "more": ("2", "1", "2")}


def test_a_contrast_with_further_conditions_can_be_hashed_and_compared() -> None:
    found = with_further(FURTHER, GROUPS)
    assert hash(found) == hash(with_further(tuple(FURTHER.items()), GROUPS))
    assert found == with_further(FURTHER, GROUPS) != CONTRAST
    assert replace(found, name="yours").further == found.further


def test_further_conditions_change_neither_digest_nor_texts() -> None:
    found = with_further(FURTHER, GROUPS)
    assert found.digest == CONTRAST.digest
    assert (found.texts, found.groups) == (CONTRAST.texts, CONTRAST.groups)


def test_the_digest_is_what_it_always_was() -> None:
    # Caches on users' disks are named by it.
    expected = "8f9be3f7171a2bd8ceabbd32cc44642922100bc784445570a51707e1071cef31"
    assert CONTRAST.digest == expected


def test_further_texts_belong_to_items_without_groups_by_their_numbers() -> None:
    plain = Contrast("mine", ("a", "b"), ("c", "d"))
    groups = {"lists": ("positive 1", "negative 0")}
    found = replace(plain, further={"lists": ("x", "y")}, further_groups=groups)
    assert set(found.further_labels["lists"] or ()) <= set(plain.groups)
    message = refusal(
        lambda: replace(found, further_groups={"lists": ("positive 1", "positive 2")})
    )
    assert "further:lists text 2 is of group 'positive 2', which no positive" in message


@pytest.mark.parametrize(
    ("further", "words"),
    [
        ({"lists": ("a",)}, "'mine': 1 further:lists texts"),
        ({"lists": ()}, "'mine': 0 further:lists texts"),
        ({"lists": ("a", " ")}, "further:lists text 2 is empty"),
        ({"lists": ("a", 2)}, "further:lists text 2 is 2, not a text"),
        ({"lists": ("a", "b\ud83d")}, "further:lists text 2 is not valid"),
        ({"lists": "a text"}, "further must be pairs of a name and a sequence"),
        ({"lists": None}, "further must be pairs"),
        ("lists", "further must be pairs"),
        (("lists",), "further must be pairs"),
        (None, "further must be pairs"),
        (5, "further must be pairs"),
        ((("lists", ("a", "b")), ("lists", ("c", "d"))), "'lists' is there twice"),
        ({"positive": ("a", "b")}, "'positive' is the name of one of the two"),
        ({"negative": ("a", "b")}, "'negative' is the name of one of the two"),
        ({"": ("a", "b")}, "'' is no name"),
        ({" lists": ("a", "b")}, "' lists' is no name"),
        ({"two\nlines": ("a", "b")}, "is no name"),
        ({5: ("a", "b")}, "5 is no name"),
        ([(["lists"], ("a", "b"))], "['lists'] is no name"),
    ],
)
def test_bad_further_conditions_are_refused(further: Any, words: str) -> None:
    message = refusal(lambda: with_further(further))
    assert "'mine'" in message
    assert words in message


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"more": ("1", "2")}, "2 groups for 3 further:more texts"),
        ({"more": ()}, "0 groups for 3 further:more texts"),
        ({"more": ("1", "2", "3")}, "further:more text 3 is of group '3', which no"),
        ({"less": ("1", "2")}, "groups for 'less', which is no further condition"),
        ({"more": "121"}, "further_groups must be pairs"),
    ],
)
def test_bad_further_groups_are_refused(groups: Any, words: str) -> None:
    message = refusal(lambda: with_further(FURTHER, groups))
    assert "'mine'" in message
    assert words in message


def test_examples_are_the_first_two_different_texts_of_every_condition() -> None:
    long = "ab" * 100
    found = Contrast("mine", ("c", "c", long, "d"), ("x", "y"), further={"third": ("z", "c")})
    cut = long[:119] + "…"
    assert found.examples == {"positive": ["c", cut], "negative": ["x", "y"], "third": ["z", "c"]}
