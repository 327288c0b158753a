"""The results folder of conftest, with whatever text stands where a text can stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsns import UnitMask
from lsns.analysis.results import save_results

from .conftest import (
    make_audit,
    make_continuations,
    make_study,
    make_synthetic,
)

LENGTH = 10_000
# What breaks out of HTML, attributes, scripts, JSON, templates, expressions of Vega, or its line.
NASTY = (
    "<b>שלום</b>\u202e{{7*7}}<br>"
    "<script>window.hacked=1;alert(1)</script></script><script>window.hacked=1</script>"
    "\"'><img src=x onerror=\"window.hacked=1\"><svg/onload=window.hacked=1>"
    "</title></style></pre></textarea></template>]]><!-- -->"
    "<b>b</b><br><i>i</i><sub>2</sub><a href=\"javascript:window.hacked=1\">a</a>"
    "&lt;b&gt; &amp; &#60;b&#62; %{x} %{customdata[0]} $x^2$ ${7*7} {{7*7}} {% raw %} {# #}"
    " \\n \\u003c"
    " \u202eright\u202c \u2066left \u2067right \u2069 \u200f\u200b\ufeff\u2028\u2029 שלום عربى"
    " 🙂👩\u200d👩\u200d👧 e\u0301\u0302\u0303 \x00\x01\x08\x1b[31m\x7f\x9b __proto__ constructor"
)  # fmt: skip
Text = Callable[[str], str]


def nasty(place: str) -> str:
    """Text that breaks out of where it stands, if it can."""
    return f"{place} {NASTY}"


def calm(place: str) -> str:
    """As long, and harmless."""
    return _filled(place, "calm words ", len(nasty(place)))


def unbroken(place: str) -> str:
    """Very long, without a space."""
    return _filled(f"{place}-", "unbroken", LENGTH)


def wordy(place: str) -> str:
    """As long, in words."""
    return _filled(place, "more words ", LENGTH)


def _filled(start: str, filling: str, length: int) -> str:
    return (f"{start} " + filling * length)[: length - 1] + "."


@dataclass(frozen=True, eq=False)
class Written:
    """What stands in the folder.

    Attributes:
        manifest: of the localization.
        audit: the object in audit.json.
        study: the object in study/study.json.
        continuations: the object in continuations.json.
        versions: the object in versions.json.
        config: the text of config.yaml.
    """

    manifest: dict[str, Any]
    audit: dict[str, Any]
    study: dict[str, Any]
    continuations: dict[str, Any]
    versions: dict[str, str]
    config: str


def write_texts(folder: Path, text: Text) -> Written:
    """Write a results folder in which `text` of a place stands at every place for a text."""
    made = make_synthetic()
    manifest = _in_manifest(made.mask.manifest, text)
    nmd = _in_manifest(made.nmd.manifest, text)
    named = replace(made, mask=UnitMask(made.mask.units, manifest))
    written = Written(
        manifest,
        _in_audit(make_audit(named), text),
        _in_study(make_study(made), text),
        _in_continuations(make_continuations(), text),
        {text("package"): text("version"), "lsns": "0.1.0"},
        f"model:\n  name: {text('config')}\n",
    )
    (folder / "study").mkdir(parents=True)
    save_results(
        folder / "localization.npz", made.mask.units, {**made.metadata, "manifest": manifest}
    )
    save_results(
        folder / "localization-nmd.npz", made.nmd.units, {**made.nmd_metadata, "manifest": nmd}
    )
    for name in ("audit", "continuations", "versions"):
        (folder / f"{name}.json").write_text(json.dumps(getattr(written, name)), encoding="utf-8")
    (folder / "study" / "study.json").write_text(json.dumps(written.study), encoding="utf-8")
    (folder / "config.yaml").write_text(written.config, encoding="utf-8")
    return written


def _in_manifest(manifest: Mapping[str, Any], text: Text) -> dict[str, Any]:
    places = {
        "model": ("name", "label", "dtype", "identity", "quantization"),
        "stimuli": ("name", "source"),
        "protocol": ("pooling", "site", "special_tokens"),
        "computed_with": ("device",),
    }
    found = {**manifest, text("manifest key"): text("manifest value")}
    for part, names in places.items():
        found[part] = {**manifest[part], **{name: text(f"{part} {name}") for name in names}}
    found["stimuli"]["examples"] = {
        text(f"{name} texts"): [text(f"{name} example {place}") for place in range(2)]
        for name in manifest["stimuli"]["examples"]
    }
    return found


def _in_audit(audit: dict[str, Any], text: Text) -> dict[str, Any]:
    _name(audit["selectivity"]["profile"], "condition", text)
    _name(audit["overlaps"], "name", text)
    _name(audit["confounds"], "measure", text)
    for key in ("rule", "sentence", "source"):
        _name(audit["findings"], key, text)
    audit["findings"].append(
        {"level": "caution"} | {key: text(f"other {key}") for key in ("rule", "sentence")}
    )
    audit["calibration"]["statistic"] = text("statistic")
    audit["conclusion"] = text("conclusion")
    return audit


def _in_study(study: dict[str, Any], text: Text) -> dict[str, Any]:
    def label(target: str) -> str:
        # As in language@2 outliers: what is before the sign is a name.
        name, _, rest = target.partition("@")
        return f"{text(name)}@{rest}"

    study |= {"about": text("about"), "model": {"name": text("studied model")}}
    study["prefix"]["token"] = text("token")
    for row in study["summary"]:
        row["benchmark"] = text(row["benchmark"])
        row["target"] = row["target"] and label(row["target"])
    for row in study["controls"]:
        row["benchmark"] = text(row["benchmark"])
    for name in ("controls", "dissociation", "dissociation_controls"):
        for row in study[name]:
            row["target"] = label(row["target"])
    for row in study["masks"]:
        row["label"] = label(row["label"])
    for row in study["benchmarks"]:
        row["name"] = text(row["name"])
    return study


def _in_continuations(continuations: dict[str, Any], text: Text) -> dict[str, Any]:
    for number, item in enumerate(continuations["prompts"]):
        item["prompt"] = text(f"prompt {number}")
        for place, one in enumerate(item["conditions"]):
            one["condition"] = text(f"condition {place}")
            one["text"] = text(f"continuation {place}\nof prompt {number}")
    return continuations


def _name(rows: Iterable[dict[str, Any]], key: str, text: Text) -> None:
    for number, row in enumerate(rows):
        row[key] = text(f"{key} {number}")
