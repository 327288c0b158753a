"""Rows of prefix trees: what each node sees, and what it predicts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lsns.evaluation.packing import lay_out, split_rows

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=2, max_size=7), min_size=1, max_size=12
).map(lambda rows: sorted({tuple(row) for row in rows}))


def read_back(rows, path):
    """The sequence that a path stands for, from what its nodes see and predict."""
    width = rows.ids.shape[1]
    row, node = divmod(int(rows.parents[path[-1]]), width)
    seen = np.flatnonzero(rows.visible[row, node])
    context = seen[np.argsort(rows.depths[row, seen])]
    return (*rows.ids[row, context].tolist(), int(rows.targets[path[-1]]))


@given(SEQUENCES, st.integers(4, 20))
def test_every_node_sees_its_own_beginning_and_nothing_else(sequences, nodes):
    places = split_rows(sequences, nodes=nodes)
    rows = lay_out([[sequences[i] for i in row] for row in places])

    assert [i for row in places for i in row] == list(range(len(sequences)))
    for sequence, path in zip(sequences, rows.paths, strict=True):
        assert rows.targets[path].tolist() == list(sequence[1:])
        for length in range(1, len(sequence)):
            assert read_back(rows, path[:length]) == sequence[: length + 1]
    assert (np.diff(rows.parents) >= 0).all()
    assert rows.visible.any(axis=-1).all(), "padding sees itself"


@given(SEQUENCES, st.integers(8, 20))
def test_rows_are_not_overfull(sequences, nodes):
    rows = lay_out([[sequences[i] for i in row] for row in split_rows(sequences, nodes=nodes)])
    assert rows.lengths.max() <= nodes


def test_a_shared_beginning_has_its_nodes_once():
    rows = lay_out([[(7, 1, 2, 3), (7, 1, 2, 4), (7, 1, 5, 3)]])

    assert rows.ids.tolist() == [[7, 1, 2, 5]]
    assert rows.depths.tolist() == [[0, 1, 2, 2]]
    assert not rows.visible[0, 3, 2], "no branch sees another"
    assert rows.paths[0][0] == rows.paths[1][0] == rows.paths[2][0]


def test_rows_of_their_own_are_padded_on_the_right():
    rows = lay_out([[(1, 2, 3)], [(4, 5)]], tree=False)

    assert rows.visible is None
    assert rows.ids.tolist() == [[1, 2], [4, 0]]
    assert rows.lengths.tolist() == [2, 1]
    assert [rows.targets[path].tolist() for path in rows.paths] == [[2, 3], [5]]
