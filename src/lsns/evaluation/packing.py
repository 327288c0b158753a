"""Token sequences as rows of prefix trees: a beginning that texts share is computed once.

The two sentences of a minimal pair begin alike, as do many sentences of a paradigm. Sorted, they
form a tree; a row holds the tree's nodes, and a node attends to its own ancestors alone, so it
sees what it would see in a row of its own. Pure arrays; no model is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

Array = np.ndarray[Any, Any]
Tokens = Sequence[int]
# Longer rows share more and spend more on attention to what they do not see.
ROW_NODES = 128


@dataclass(frozen=True, eq=False)
class Rows:
    """Sequences laid out for one forward pass.

    An *edge* is one prediction: the node that predicts, and the token that is predicted. The last
    token of a sequence predicts nothing and has no node.

    Attributes:
        ids: int64 (n_rows, width), padded with 0 on the right.
        depths: int64 (n_rows, width), the place of each node in its sequence, from 0.
        lengths: int64 (n_rows,), nodes per row.
        visible: bool (n_rows, width, width), [row, node, other]: whether the node sees the other;
            None where every row is one sequence, read from left to right.
        parents: int64 (n_edges,), index of the predicting node among all n_rows * width;
            ascending.
        targets: int64 (n_edges,), the predicted token.
        paths: per sequence, the edges of its tokens from the second to the last.
    """

    ids: Int[Array, "n_rows width"]
    depths: Int[Array, "n_rows width"]
    lengths: Int[Array, " n_rows"]
    visible: Bool[Array, "n_rows width width"] | None
    parents: Int[Array, " n_edges"]
    targets: Int[Array, " n_edges"]
    paths: tuple[Int[Array, " n_predictions"], ...]


class _Row:
    """A row while it is filled: the nodes of a tree, parents before children."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.edges: dict[tuple[int, int], int] = {}
        self._last: tuple[Tokens, list[int]] = ((), [])

    def add(self, sequence: Tokens) -> list[int]:
        """Add a sequence of at least two tokens; returns its edges, in this row's numbering."""
        nodes = self._last[1][: _shared(self._last[0], sequence[:-1])]
        for token in sequence[len(nodes) : -1]:
            self.parents.append(nodes[-1] if nodes else -1)
            self.depths.append(len(nodes))
            self.tokens.append(token)
            nodes.append(len(self.tokens) - 1)
        self._last = (sequence[:-1], nodes)
        keys = zip(nodes, sequence[1:], strict=True)
        return [self.edges.setdefault(key, len(self.edges)) for key in keys]

    def visible(self, width: int) -> Bool[Array, "width width"]:
        # Padding sees itself, for a row of nothing would be 0 / 0.
        seen = np.eye(width, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def lay_out(rows: Sequence[Sequence[Tokens]], *, tree: bool = True) -> Rows:
    """Lay out sequences, given row by row, for one forward pass.

    Args:
        rows: per row its sequences, of at least two tokens each; those that begin alike share
            nodes if they are neighbours. Without `tree`, one sequence per row.
        tree: tell what every node sees.
    """
    filled = [_Row() for _ in rows]
    edges = [[row.add(seq) for seq in seqs] for row, seqs in zip(filled, rows, strict=True)]
    width = max(len(row.tokens) for row in filled)
    parents, targets, paths = _join_edges(filled, edges, width)
    return Rows(
        ids=_padded([row.tokens for row in filled], width),
        depths=_padded([row.depths for row in filled], width),
        lengths=np.array([len(row.tokens) for row in filled]),
        visible=np.stack([row.visible(width) for row in filled]) if tree else None,
        parents=parents,
        targets=targets,
        paths=paths,
    )


def split_rows(sequences: Sequence[Tokens], *, nodes: int = ROW_NODES) -> list[list[int]]:
    """Indexes of sequences per row: neighbours together, at most `nodes` nodes to a row.

    A sequence that is longer has a row of its own. Sort before, so that neighbours begin alike.
    """
    rows: list[list[int]] = []
    filled, last = 0, ()
    for index, sequence in enumerate(sequences):
        new = len(sequence) - 1 - _shared(last, sequence[:-1])
        if not rows or filled + new > nodes:
            rows.append([])
            filled, new = 0, len(sequence) - 1
        rows[-1].append(index)
        filled, last = filled + new, sequence[:-1]
    return rows


def _join_edges(
    rows: Sequence[_Row], edges: Sequence[Sequence[list[int]]], width: int
) -> tuple[Array, Array, tuple[Array, ...]]:
    """All rows' edges in one numbering, ordered by the node that predicts."""
    firsts = np.cumsum([0, *(len(row.edges) for row in rows)])
    keys = [
        (place * width + node, token) for place, row in enumerate(rows) for node, token in row.edges
    ]
    parents, targets = np.array(keys, dtype=np.int64).reshape(-1, 2).T
    order = np.argsort(parents, kind="stable")
    renumbered = np.empty_like(order)
    renumbered[order] = np.arange(len(order))
    paths = tuple(
        renumbered[np.array(path, dtype=np.int64) + first]
        for first, row_paths in zip(firsts, edges, strict=False)
        for path in row_paths
    )
    return parents[order], targets[order], paths


def _shared(one: Tokens, other: Tokens) -> int:
    """How many tokens two sequences have in common from their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _padded(lists: Sequence[Sequence[int]], width: int) -> Int[Array, "n_rows width"]:
    return np.array([[*values, *[0] * (width - len(values))] for values in lists], dtype=np.int64)
