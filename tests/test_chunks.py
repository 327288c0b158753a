"""Chunks: what they are depends on the texts alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns.chunks import CHUNK_ITEMS, map_chunks, plan_chunks, split_batches

modest = settings(max_examples=80, deadline=None)
# Few ids and short texts: many are equal, many are of equal length.
texts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=30)
sizes = st.integers(1, 9)


@modest
@given(texts, sizes, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_texts(tokens, size, rng) -> None:
    shuffled = rng.sample(tokens, len(tokens))
    plans = [
        [[given_[index] for index in chunk] for chunk in plan_chunks(given_, size=size)]
        for given_ in (tokens, shuffled)
    ]
    assert plans[0] == plans[1]


@modest
@given(texts, sizes)
def test_every_text_is_in_one_chunk_and_chunks_are_full(tokens, size) -> None:
    chunks = plan_chunks(tokens, size=size)
    assert Counter(index for chunk in chunks for index in chunk) == Counter(range(len(tokens)))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks)


@modest
@given(texts, sizes)
def test_the_longest_texts_come_first(tokens, size) -> None:
    planned = [len(tokens[i]) for chunk in plan_chunks(tokens, size=size) for i in chunk]
    assert planned == sorted(map(len, tokens), reverse=True)


def test_the_size_of_a_chunk_is_fixed() -> None:
    lengths = [len(chunk) for chunk in plan_chunks([[1]] * (2 * CHUNK_ITEMS + 1))]
    assert lengths == [CHUNK_ITEMS, CHUNK_ITEMS, 1]


@modest
@given(texts.filter(bool), sizes, st.none() | sizes, st.integers(1, 40))
def test_batches_partition_their_chunk(tokens, size, batch_size, budget) -> None:
    for chunk in plan_chunks(tokens, size=size):
        batches = split_batches(chunk, tokens, batch_size=batch_size, budget=budget)
        assert [index for batch in batches for index in batch] == list(chunk)
        assert all(batches)


@modest
@given(texts.filter(bool), sizes)
def test_a_batch_size_is_respected_whatever_the_budget(tokens, batch_size) -> None:
    (chunk,) = plan_chunks(tokens, size=len(tokens))
    batches = split_batches(chunk, tokens, batch_size=batch_size, budget=1)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size


@modest
@given(texts.filter(bool), st.integers(1, 40))
def test_without_a_batch_size_padded_tokens_stay_in_the_budget(tokens, budget) -> None:
    (chunk,) = plan_chunks(tokens, size=len(tokens))
    batches = split_batches(chunk, tokens, batch_size=None, budget=budget)
    widest = max(map(len, tokens))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * widest <= budget
    # And no batch could have taken one more.
    assert all((len(batch) + 1) * widest > budget for batch in batches[:-1])


def test_map_is_in_order_and_lazy() -> None:
    seen = []

    def function(chunk):
        seen.append(chunk)
        return sum(chunk)

    results = map_chunks(function, [(3, 1), (2,), (5,)])
    assert next(results) == ((3, 1), 4)
    assert seen == [(3, 1)]
    assert list(results) == [((2,), 2), ((5,), 5)]


def test_map_passes_a_failure_on() -> None:
    def function(chunk):
        raise RuntimeError(f"chunk {chunk}")

    with pytest.raises(RuntimeError, match=r"chunk \(1,\)"):
        list(map_chunks(function, [(1,)]))
