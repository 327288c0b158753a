"""Results as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from lsns.terminal import one_line

if TYPE_CHECKING:
    from lsns.lesions.continuations import Continuation
    from lsns.localization import Localization

BAR_WIDTH = 40
LINE_WIDTH = 96
COLUMNS = 3
ALPHA = 0.05


def describe_localization(found: Localization) -> str:
    """What was done and what came out, with a bar per layer."""
    bars = _bars(found.mask.per_layer.tolist())
    return "\n".join([*summarize_localization(found), "selected units per layer", *bars])


def summarize_localization(found: Localization) -> list[str]:
    """What was done and what came out, a line for each."""
    manifest = found.manifest
    model, stimuli, protocol = manifest["model"], manifest["stimuli"], manifest["protocol"]
    selection = manifest["selection"]
    n_layers, hidden_size = found.mask.units.shape
    total = found.mask.units.size
    tokens = protocol["max_tokens"]
    weights = "" if model["pretrained"] else f", random weights (seed {model['init_seed']})"
    return [
        _line("model", f"{model['name']} ({model['dtype']}{weights})"),
        _line("units", f"{n_layers} blocks x {hidden_size} = {total}"),
        _line(
            "stimuli",
            f"{stimuli['name']}: {stimuli['positive']} positive, {stimuli['negative']} negative "
            f"({stimuli['source']})",
        ),
        *_repeated(stimuli),
        _line(
            "protocol",
            f"{protocol['pooling']}, {'whole texts' if tokens is None else f'{tokens} tokens'}",
        ),
        _line("selected", f"{found.mask.count} units: {_selection_words(selection)}"),
        _line(
            "t",
            f"weakest selected {selection['weakest_t']:.3f}, largest {found.t_values.max():.2f}",
        ),
        _line(f"p < {ALPHA:.2f}", f"{_significant(found)} units (adjusted over all units)"),
        _line("outliers", _outlier_words(found)),
    ]


def describe_continuations(
    prompt: str, continuations: Sequence[Continuation], columns: int | None = None
) -> str:
    """The prompt, and the continuations side by side, three to a row.

    Args:
        prompt: what was continued.
        continuations: under each condition.
        columns: that they have to fit in, if they are fewer than usual.
    """
    width = min(columns or LINE_WIDTH, LINE_WIDTH)
    parts = [f"prompt: {one_line(prompt)}"]
    for start in range(0, len(continuations), COLUMNS):
        parts.append(_side_by_side(continuations[start : start + COLUMNS], width))
    return "\n\n".join(parts)


def _side_by_side(continuations: Sequence[Continuation], line_width: int) -> str:
    width = (line_width - 3 * (len(continuations) - 1)) // len(continuations)
    heads = [textwrap.wrap(one_line(item.condition), width) for item in continuations]
    # A lesioned model may write any character.
    texts = [
        textwrap.wrap(one_line(item.text) or "(nothing: the text ends here)", width)
        for item in continuations
    ]
    rule = "-+-".join("-" * width for _ in continuations)
    return "\n".join([*_rows(heads, width), rule, *_rows(texts, width)])


def _rows(columns: Sequence[Sequence[str]], width: int) -> list[str]:
    return [
        " | ".join(f"{cell:<{width}}" for cell in row).rstrip()
        for row in zip_longest(*columns, fillvalue="")
    ]


def _line(name: str, value: str) -> str:
    return f"{name:<9} {one_line(value)}"


def _repeated(stimuli: Mapping[str, Any]) -> list[str]:
    count = stimuli.get("repeated")
    words = f"{count} texts repeat another one; p-values count them as if they did not"
    return [_line("", words)] if count else []


def _selection_words(selection: dict[str, object]) -> str:
    percentage, num_units = selection["percentage"], selection["num_units"]
    if num_units is not None:
        amount = f"{num_units} asked for"
    else:
        amount = "the default percentage" if percentage is None else f"{percentage:g}%"
    where = "of every layer" if selection["per_layer"] else "over all layers"
    places = {"100-100": "highest", "0-0": "lowest"}
    chosen = str(selection["localize_range"])
    place = places.get(chosen, f"drawn from percentiles {chosen}, seed {selection['seed']}")
    return f"{amount} {where}, {place} by {selection['method']}"


def _significant(found: Localization) -> int:
    return int(np.count_nonzero(found.p_values < ALPHA))


def _outlier_words(found: Localization) -> str:
    over = f"over {found.outlier_threshold:g} times the layer's median"
    if found.barred is not None:
        all_of_them = int(found.barred.sum())
        return f"none selected: all {all_of_them} are excluded (mean |activation| {over})"
    count = int(found.outliers.sum())
    share = found.magnitudes[found.outliers].sum() / found.magnitudes[found.mask.units].sum()
    if count == 0:
        return f"none selected (mean |activation| {over})"
    return (
        f"{count} of the selected units, with {share:.0%} of their |activation| "
        f"({over}): a lesion may show these, not a network"
    )


def _bars(counts: Sequence[int]) -> list[str]:
    largest = max(counts)
    return [
        f"{layer:>4} {count:>5} {'█' * max(round(BAR_WIDTH * count / largest), count > 0)}".rstrip()
        for layer, count in enumerate(counts)
    ]
