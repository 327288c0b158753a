"""Chunks: what they are depends on the texts alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsns.chunks import CHUNK_ITEMS, fitting, map_chunks, plan_chunks

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


def batches_of(chunks, *, batch_size, usual=len):
    """The batches, and what is told of each chunk."""
    batches = []

    def function(batch):
        batches.append(batch)
        return [f"text {index}" for index in batch]

    results = list(map_chunks(function, chunks, batch_size=batch_size, usual=usual))
    assert results == [(chunk, [f"text {index}" for index in chunk]) for chunk in chunks]
    return batches


@modest
@given(texts, sizes, sizes)
def test_a_batch_size_is_what_it_says_over_chunks_and_within_them(tokens, size, batch_size) -> None:
    chunks = plan_chunks(tokens, size=size)
    batches = batches_of(chunks, batch_size=batch_size)
    assert [i for batch in batches for i in batch] == [i for chunk in chunks for i in chunk]
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(1 <= len(batch) <= batch_size for batch in batches)


@modest
@given(texts.filter(bool), sizes, st.integers(1, 40))
def test_without_a_batch_size_padded_tokens_stay_in_the_budget(tokens, size, budget) -> None:
    chunks = plan_chunks(tokens, size=size)
    batches = batches_of(
        chunks, batch_size=None, usual=lambda chunk: fitting(chunk, tokens, budget)
    )
    assert [i for batch in batches for i in batch] == [i for chunk in chunks for i in chunk]
    for chunk in chunks:
        widest = max(len(tokens[i]) for i in chunk)
        own = [batch for batch in batches if set(batch) <= set(chunk)]
        assert sum(map(len, own)) == len(chunk)
        assert all(len(batch) == 1 or len(batch) * widest <= budget for batch in own)
        # And no batch could have taken one more.
        assert all((len(batch) + 1) * widest > budget for batch in own[:-1])


@pytest.mark.parametrize("batch_size", [None, 2, 3, 9])
def test_a_chunk_is_told_of_as_soon_as_it_is_done(batch_size) -> None:
    seen = []

    def function(batch):
        seen.append(batch)
        return [10 * index for index in batch]

    chunks = [(3, 1), (2,), (5, 0, 4)]
    results = map_chunks(function, chunks, batch_size=batch_size, usual=len)
    assert next(results) == ((3, 1), [30, 10])
    assert len(seen) == 1
    assert list(results) == [((2,), [20]), ((5, 0, 4), [50, 0, 40])]


def test_map_passes_a_failure_on() -> None:
    def function(batch):
        raise RuntimeError(f"batch {batch}")

    with pytest.raises(RuntimeError, match=r"batch \(1, 2\)"):
        list(map_chunks(function, [(1,), (2,)], batch_size=5, usual=len))
