"""What the page says in words: title, finding, key numbers. From manifest, audit and study."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lsns.audits.verdict import Finding
from lsns.report.figures_study import Lesion, own_lesion
from lsns.report.figures_units import score_words, within
from lsns.report.results import Results, ScoredUnits
from lsns.report.style import control_look, p_text
from lsns.report.visible import LONGEST_HOVER, LONGEST_WORDS, shorten

POOLING = {
    "last-token": "read at the last token",
    "mean": "averaged over tokens",
    "sum": "summed over tokens",
}
# Levels of findings, as docs/audit.md has them, and what each means on the page.
LEVELS = {
    "good": "stands",
    "caution": "holds with reservations",
    "bad": "does not stand",
    "open": "was not measured, or not enough",
}


@dataclass(frozen=True)
class _KeyNumber:
    """A number of the summary line.

    Attributes:
        name: what it is.
        value: it, or a dash.
        note: what it is to be read beside, or why it is not there.
    """

    name: str
    value: str
    note: str


def title_of_page(results: Results) -> str:
    """What the page is about."""
    model, network = _model_name(results), _part(results, "stimuli").get("name")
    if results.localization is None:
        return f"Lesions of {shorten(model, LONGEST_HOVER)}"
    name = shorten(str(network or "selected"), LONGEST_HOVER)
    return f"{name[:1].upper()}{name[1:]} units of {shorten(model, LONGEST_HOVER)}"


def _model_name(results: Results) -> str:
    """The model in short: of a path the last part; in the manifest it is whole."""
    named, studied = _part(results, "model"), _studied_model(results)
    name = named.get("label") or _last_part(str(named.get("name") or studied or ""))
    return shorten(str(name) or "a model that is not named")


def _studied_model(results: Results) -> str:
    return str((_study(results).get("model") or {}).get("name") or "")


def _study(results: Results) -> Mapping[str, Any]:
    """The manifest of the study; empty without one."""
    return {} if results.study is None else results.study.manifest


def _last_part(name: str) -> str:
    """As `BaseModel.label`; of a Windows path as well."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def finding(results: Results) -> str:
    """What was selected, in words: model, precision, units, contrast, protocol, t."""
    found = results.localization
    if found is None:
        about, name = str(_study(results).get("about") or ""), _studied_model(results)
        if name and about.startswith(name):
            about = _last_part(name) + about.removeprefix(name)
        about = shorten(about, 2 * LONGEST_WORDS)
        studied = f"A study of lesions, of {about}. " if about else ""
        return f"{studied}There is no localization in this folder, so no units are shown."
    return " ".join(_sentences(results, found))


def conclusion(results: Results) -> str:
    """The audit's; empty without one."""
    return "" if results.audit is None else results.audit.conclusion


def findings(results: Results, *, good: bool) -> list[Finding]:
    """The audit's findings that are good, or all others."""
    found = () if results.audit is None else results.audit.findings
    return [one for one in found if (one.level == "good") == good]


def key_numbers(results: Results) -> list[_KeyNumber]:
    """Units, layers, outliers among them, reliability, held-out effect, lesion effect.

    Of the lesion with all kinds of its controls: one of them alone could flatter it.
    """
    return [
        *_unit_numbers(results),
        _reliability(results),
        _held_out(results),
        _lesion(results),
    ]


def examples(results: Results) -> list[tuple[str, list[str]]]:
    """Each condition of the contrast with some of its texts; empty where none were kept."""
    kept = _part(results, "stimuli").get("examples")
    found = kept.items() if isinstance(kept, Mapping) else ()
    return [
        (str(name), [str(text) for text in texts])
        for name, texts in found
        if texts and isinstance(texts, (list, tuple))
    ]


def _sentences(results: Results, found: ScoredUnits) -> Iterator[str]:
    units, stimuli = found.mask.units, _part(results, "stimuli")
    n_layers, width = units.shape
    yield (
        f"In {_model_name(results)}{_precision(results)}, {found.mask.count} of {units.size} units "
        f"({n_layers} layers of {width}) were selected: {_selection(results, found)}."
    )
    if stimuli:
        numbers = f"{stimuli.get('positive')} positive against {stimuli.get('negative')} negative"
        name = shorten(str(stimuli.get("name")))
        yield (f"The contrast “{name}” has {numbers} texts{_protocol(_part(results, 'protocol'))}.")
    t_values, p_values = found.t_values[units], found.p_values[units]
    if units.any():
        yield (
            f"Their t ranges from {t_values.min():.2f} to {t_values.max():.2f}; the largest "
            f"adjusted p is {p_text(float(p_values.max()))}."
        )


def _precision(results: Results) -> str:
    model = _part(results, "model")
    details = [shorten(str(model["dtype"]))] if model.get("dtype") else []
    if model.get("quantization"):
        details.append(shorten(f"{model['quantization']} weights"))
    if not model.get("pretrained", True):
        details.append(f"random weights, seed {model.get('init_seed')}")
    return f" ({', '.join(details)})" if details else ""


def _selection(results: Results, found: ScoredUnits) -> str:
    selection = _part(results, "selection")
    place = shorten(str(selection.get("localize_range") or "100-100"))
    share = selection.get("percentage")
    amount = f"{found.mask.count} units" if share is None else f"{share:g}%"
    where = "of every layer" if selection.get("per_layer") else "over all layers"
    places = {"100-100": "the highest", "0-0": "the lowest"}
    drawn = f"drawn at random between percentiles {place} (seed {selection.get('seed')})"
    barred = ", outlier units excluded" if selection.get("exclude_outliers") else ""
    how = places.get(place, drawn)
    return f"{amount} {where}, {how} by {within(score_words(found))}{barred}"


def _protocol(protocol: Mapping[str, Any]) -> str:
    if not protocol:
        return ""
    tokens, pooling = (
        protocol.get("max_tokens"),
        shorten(str(protocol.get("pooling"))),
    )
    cut = "whole" if tokens is None else f"cut to their first {tokens} tokens"
    return f", {cut} and {POOLING.get(pooling, f'pooled by {pooling}')}"


def _unit_numbers(results: Results) -> Iterator[_KeyNumber]:
    found = results.localization
    if found is None:
        return
    units, outliers = found.mask.units, found.outliers
    counts = units.sum(axis=1)
    share = 100 * found.mask.count / units.size
    yield _KeyNumber("Selected units", str(found.mask.count), f"of {units.size}, or {share:.3g}%")
    yield _KeyNumber("Layers with units", str(int((counts > 0).sum())), f"of {len(units)} layers")
    audited = results.section("outliers")
    note = "" if not audited else (
        f"{audited.magnitude_share:.0%} of the mask's magnitude over all tokens; chance: "
        f"{audited.expected:.1f} units"
    )  # fmt: skip
    yield _KeyNumber("Outliers among them", str(int((units & outliers).sum())), note)


def _reliability(results: Results) -> _KeyNumber:
    found = results.section("reliability")
    rows = found.rows if found else ()
    row = next((row for row in rows if row.chosen and row.split == "halves"), None)
    if row is None:
        why = shorten(results.missing("reliability") or "not of halves")
        return _KeyNumber("Split-half Dice", "–", f"not measured: {why}")
    return _KeyNumber("Split-half Dice", f"{row.dice:.2f}", f"{row.dice_chance:.3f} by chance")


def _held_out(results: Results) -> _KeyNumber:
    found = results.section("selectivity")
    if not found:
        why = shorten(results.missing("selectivity") or "not in the audit")
        return _KeyNumber("Held-out effect", "–", f"not measured: {why}")
    effect = found.held_out
    ends = f"95% {effect.low:.2f} to {effect.high:.2f}"
    return _KeyNumber("Held-out effect", f"g {effect.g:.2f}", ends)


def _lesion(results: Results) -> _KeyNumber:
    found = own_lesion(results)
    if not found:
        return _KeyNumber("Lesion effect", "–", "not measured: no study of a lesion by this mask")
    item, row = found[0], found[0].row
    change, low, high = item.change(row)
    note = f"{item.unit} on {shorten(row.benchmark, 40)} (95% {low:+.1f} to {high:+.1f})"
    for rest in found[1:]:
        note += f"; without outliers {rest.change(rest.row)[0]:+.1f}"
    kinds = [_control_words(item, kind) for kind in item.controls]
    note += f"; controls: {', '.join(kinds)}" if kinds else "; no controls"
    return _KeyNumber("Lesion effect", f"{change:+.1f}", note)


def _control_words(item: Lesion, kind: str) -> str:
    changes, p_value = item.changes(kind), item.p_values.get(kind)
    words = f"{shorten(control_look(kind).words, 40)} {sum(changes) / len(changes):+.1f}"
    return words if p_value is None else f"{words} (p {p_value:.2g})"


def _part(results: Results, name: str) -> Mapping[str, Any]:
    part = results.manifest.get(name) or {}
    return part if isinstance(part, Mapping) else {}
