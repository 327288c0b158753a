"""The page says what the results say, holds all it needs, and text in it is only text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lsns import LsnsError, UnitMask
from lsns.cli import run
from lsns.report.figures import KINDS, drawing
from lsns.report.figures_study import lesions_of
from lsns.report.figures_units import FINE, _cell_size, _thinned
from lsns.report.html import _json_in_html, _library, json_for_people, page_spec
from lsns.report.page import SECTIONS, _show, make_page, write_page
from lsns.report.results import Continued, Prompt, read_results
from lsns.report.style import DARK, lines_of, p_text, table
from lsns.report.visible import shorten, shorten_middle, visible_text
from tests.report.conftest import large, study_of

FIGURES = [kind for _, _, kinds in SECTIONS for kind in kinds]
TAG = "<script>alert(1)</script>"
HOSTILE = (
    f"{TAG}\"'`&amp;<img src=x onerror=alert(2)></title></style>--><!--"
    "\u202eright to left\u2066\u200f\x00\x1b[31m{{ 7 * 7 }}%{x}<b>bold</b><a href='javascript:0'>"
)
ENDLESS = HOSTILE + "w" * 10_000


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each that has an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self.content = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append((tag, found.get("id")))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, f"{self.open[-1]} is closed by {tag}"
        self.open.pop()

    def handle_data(self, data):
        self.content += data
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def all(self, tag, **wanted):
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


@pytest.fixture
def page(results):
    return make_page(results)


@pytest.fixture
def read(page):
    found = Reader(page)
    assert not found.open
    return found


def shown_of(results):
    return {kind: _show(kind, results) for kind in FIGURES}


def datasets(shown):
    """The rows of a figure, the most first."""
    return sorted(shown.spec["datasets"].values(), key=len, reverse=True)


def manifests_on(read):
    """The JSON objects in the section of manifests."""
    decoder, text = json.JSONDecoder(), read.texts["manifest"]
    return [decoder.raw_decode(text[m.start() :])[0] for m in re.finditer(r"(?m)^\{", text)]


# What is on it.


def test_structure(read):
    assert read.all("html", lang="en", **{"data-theme": "auto"})
    assert len(read.all("main")) == len(read.all("h1")) == 1
    assert read.all("button", id="theme")
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"] for a in read.all("a")}
    assert links <= {f"#{name}" for name in ids}
    for name in ("finding", "continuations", "manifest", "reproduce"):
        assert read.all("section", id=name)
        assert f"#{name}" in links
    for scroll in (*read.all("pre"), *read.all("div", **{"class": "scroll"})):
        if scroll.get("class") != "command":
            assert scroll["tabindex"] == "0"
            assert scroll["aria-label"]
    regions = [a["aria-label"] for _, a in read.elements if a.get("role") == "region"]
    assert len(regions) == len(set(regions))
    assert not [a for _, a in read.elements if any(name.startswith("on") for name in a)]


def test_every_figure_has_its_place_and_words(read):
    assert {*FIGURES} == KINDS.keys() - {"heatmap"}
    for kind in FIGURES:
        assert read.all("figure", id=f"figure-{kind}")
        (plot,) = read.all("div", id=f"plot-{kind}")
        assert plot["role"] == "img"
        assert re.search(r"\d", plot["aria-label"])
        assert f"lsns plot {kind} RESULTS -o {kind}.pdf" in read.texts[f"figure-{kind}"]
    assert json.loads(read.texts["data"])["charts"].keys() == set(FIGURES)


def test_the_finding(read, results, made):
    text = read.texts["finding"]
    units, found = made.mask.units, results.localization
    assert f"{units.sum()} of {units.size} units ({len(units)} layers" in text
    assert "tiny (float32)" in text
    assert "40 positive against 40 negative texts" in text
    assert "cut to their first 12 tokens and read at the last token" in text
    low, high = found.t_values[units].min(), found.t_values[units].max()
    assert f"t ranges from {low:.2f} to {high:.2f}" in text
    assert results.audit.conclusion in text
    for row in results.audit.findings:
        assert row.sentence in text
    # Caveats before what stands, each with its level in words.
    assert text.index("outlier dimensions.") < text.index("Halves of the items")
    levels = re.findall(r"(?m)^(bad|caution|open|good)$", text)
    assert levels[:4] == ["bad", "caution", "open", "good"]


def in_manifest(results, part, **values):
    """The same results with other values in a part of the localization's manifest."""
    found = results.localization
    manifest = {**found.manifest, part: {**found.manifest[part], **values}}
    return replace(results, localization=replace(found, mask=UnitMask(found.mask.units, manifest)))


@pytest.mark.parametrize("name", ["/home/someone/secret/tiny", "secret/tiny/", "C:\\secret\\tiny"])
def test_a_folder_is_named_by_its_last_part(results, name):
    place = {"name": name, "label": "tiny"}
    about = {"model": {"name": name}, "about": f"{name} (float32); nothing"}
    study = replace(results.study, manifest={**results.study.manifest, **about})
    older = in_manifest(results, "model", name=name)
    del older.manifest["model"]["label"]
    alone = replace(results, localization=None, audit=None, study=study)
    for found in (in_manifest(results, "model", **place), older, alone):
        page = make_page(replace(found, config=None))
        title = re.findall(r"<title>(.*?)</title>", page)
        assert title[:1] == ["Lesions of tiny" if found is alone else "Language units of tiny"]
        assert "secret" not in Reader(page).texts["finding"]


def test_examples_of_the_stimuli(results, read):
    text = read.texts["stimuli"]
    for name, texts in results.manifest["stimuli"]["examples"].items():
        assert name in text
        assert all(one in text for one in texts)
    assert read.all("a", href="#stimuli")


@pytest.mark.parametrize("kept", [None, {}, [], {"positive": []}, "text", {"positive": "text"}])
def test_without_examples_there_is_no_section(results, kept):
    read = Reader(make_page(in_manifest(results, "stimuli", examples=kept)))
    assert not read.all("section", id="stimuli")
    assert not read.all("a", href="#stimuli")


def test_a_mask_of_any_name_is_shown_by_it(results):
    """A mask from Python has the name that it was given, and no network or percentage in it."""
    study = json.dumps(results.study.to_dict()).replace("language@2", "my own mask")
    found = replace(results, study=study_of(json.loads(study)))
    spec = json.dumps(_show("effects", found).spec)
    assert '[\\"my own mask\\"]' in spec
    assert '[\\"my own mask rest\\"]' in spec
    text = Reader(make_page(found)).texts["lesions"]
    assert "my own mask" in text
    assert "language@2" not in text


def test_key_numbers(read, results, made):
    text = read.texts["finding"]
    both = made.mask.units & made.metadata["outliers"]
    lesion = next(
        item
        for item in lesions_of(results)
        if item.row.mask == made.mask.digest and item.row.benchmark == "minimal-pairs"
    )
    mean = np.mean(lesion.changes("magnitude"))
    for words in (
        f"Layers with units{(made.mask.per_layer > 0).sum()}",
        f"Outliers among them{both.sum()}",
        "Split-half Dice0.60",
        "Held-out effectg 1.60",
        f"Lesion effect{100 * lesion.row.difference:+.1f}",
        f"magnitude-matched {mean:+.1f} (p {lesion.p_values['magnitude']:.2g})",
    ):
        assert words in re.sub(r"\n|(?<=\d) (?=\d)", "", text), words


def test_colours_have_a_dark_form(results):
    """Every colour of text, frames and marks that is not on a coloured cell."""
    found = set()
    for kind in FIGURES:
        chart = drawing(kind)(results).chart.to_dict()
        chart.pop("datasets")
        found |= set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(chart)))
        spec = page_spec(chart)
        spec.pop("datasets")
        assert set(re.findall(r"#[0-9a-f]{6}", json.dumps(spec))) <= {
            "#f0e442",
            "#101010",
            "#fefefe",
        }
    assert found - {"#f0e442", "#101010", "#fefefe"} <= set(DARK)
    page = make_page(results)
    for light, dark in DARK.items():
        assert page.count(f"--c{light[1:]}: {light};") == 1
        assert page.count(f"--c{light[1:]}: {dark};") == 2


def test_tables_hold_the_numbers_to_sort_by(read, results):
    tables = read.all("table")
    assert tables
    assert all(table["class"] == "sortable" for table in tables)
    values = {a["data-value"] for tag, a in read.elements if "data-value" in a}
    for row in results.summary:
        if row.condition == "lesion":
            assert str(row.value) in values
    for row in results.audit.confounds:
        assert str(row.g) in values


def test_continuations_side_by_side(read, results):
    text = read.texts["continuations"]
    for item in results.continuations:
        assert item.prompt in text
        for one in item.conditions:
            assert one.condition in text
            assert one.text in text


def test_a_continuation_of_nothing_says_so(results):
    item = Prompt("Stop.", [Continued("intact", "\n ")])
    text = Reader(make_page(replace(results, continuations=[item]))).texts["continuations"]
    assert "(nothing: the text ends here)" in text


def test_manifests_and_what_reproduces_them(read, results):
    found = manifests_on(read)
    assert found == [results.manifest, results.study.manifest, results.audit.manifest["audit"]]
    reproduce = read.texts["reproduce"]
    assert "lsns run config.yaml" in reproduce
    assert results.config in reproduce
    for package, version in results.versions.items():
        assert package in reproduce
        assert version in reproduce


# What is missing.


@pytest.mark.parametrize(
    ("missing", "absent"),
    [
        (
            {"localization": None},
            {"layers", "scores", "recurrence", "outliers", "methods", "overlap"},
        ),
        ({"nmd": None}, {"methods", "overlap"}),
        ({"audit": None}, {"reliability", "profile", "protocols"}),
        ({"study": None}, {"effects", "dose"}),
        ({"continuations": None, "config": None, "versions": None, "text": None}, set()),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(results, missing, absent):
    found = replace(results, **missing)
    figures = shown_of(found)
    assert {kind for kind, figure in figures.items() if figure.reason} == absent
    read = Reader(make_page(found))
    assert json.loads(read.texts["data"])["charts"].keys() == set(FIGURES) - absent
    for kind in absent:
        assert f"Not shown: {figures[kind].reason}." in read.texts[f"absent-{kind}"]
        assert str(results.folder) not in read.texts[f"absent-{kind}"]
        assert not read.all("figure", id=f"figure-{kind}")
    if "config" in missing:
        assert "there is no config.yaml" in read.texts["reproduce"]
        assert "there is no continuations.json" in read.texts["continuations"]
    if "audit" in missing:
        assert "was not examined: there is no audit.json" in read.texts["finding"]


def test_a_study_alone(results_folder):
    alone = replace(read_results(results_folder), localization=None, nmd=None, audit=None)
    read = Reader(make_page(replace(alone, config=None, versions=None, continuations=None)))
    assert "Lesions of tiny" in read.texts["main"]
    assert "There is no localization in this folder" in read.texts["finding"]
    assert "Lesion effect" in read.texts["finding"]


def test_why_a_part_of_the_audit_is_missing(results):
    missing = {"reliability": "too few items"}
    audit = replace(results.audit, reliability=None, missing=missing)
    read = Reader(make_page(replace(results, audit=audit)))
    assert "Not shown: too few items." in read.texts["absent-reliability"]
    assert "not measured: too few items" in read.texts["finding"]


def test_one_percentage_has_no_dose(results):
    rows = [row for row in results.summary if row.target in ("", "language@2")]
    study = replace(results.study, summary=rows, dissociation=[])
    found = replace(results, study=study)
    assert "one percentage" in _show("dose", found).reason
    assert not _show("effects", found).reason


def test_numbers_that_json_does_not_have(results):
    found = results.localization
    broken = replace(found, t_values=np.full_like(found.t_values, np.nan))
    audit, nan = results.audit, float("nan")
    rows = tuple(replace(row, g=nan) for row in audit.confounds)
    profile = tuple(replace(row, mean=nan) for row in audit.selectivity.profile)
    selectivity = replace(audit.selectivity, profile=profile)
    audit = replace(audit, confounds=rows, selectivity=selectivity)
    page = make_page(replace(results, localization=broken, audit=audit))
    data = json.loads(Reader(page).texts["data"], parse_constant=pytest.fail)
    packed = data["charts"]["profile"]["datasets"].values()
    assert [d["mean"] for d in packed if "mean" in d] == [[None] * 3]


# Text is only text.


def hostile_results(results, text):
    """Results in which whatever a model, a file or a user can name is `text`."""
    manifest = json.loads(json.dumps(results.manifest))
    manifest["model"] |= {"name": text, "label": text, "dtype": text}
    manifest["stimuli"] |= {"name": text, "source": text}
    manifest["stimuli"]["examples"] = {text: [text] * 2, "other": [text] * 2, "third": [text] * 2}
    manifest["selection"]["method"] = text
    manifest["protocol"]["pooling"] = text
    masks = {
        name: replace(found, mask=UnitMask(found.mask.units, manifest))
        for name, found in (("localization", results.localization), ("nmd", results.nmd))
    }
    found = results.audit
    profile = tuple(replace(row, condition=text) for row in found.selectivity.profile)
    audit = replace(
        found, conclusion=text, missing={"calibration": text}, calibration=None,
        findings=tuple(replace(row, sentence=text, rule=text) for row in found.findings),
        confounds=tuple(replace(row, measure=text) for row in found.confounds),
        overlaps=tuple(replace(row, name=text) for row in found.overlaps),
        selectivity=replace(found.selectivity, profile=profile),
    )  # fmt: skip
    study = results.study.to_dict() | {"about": text, text: text}
    for row in study["summary"]:
        row["target"] += text if row["target"] else ""
        row["benchmark"] += text
        row["control"] = text if row["control"] == "uniform" else row["control"]
    for row in study["controls"]:
        row["target"] += text
        row["benchmark"] += text
        row["kind"] = text if row["kind"] == "uniform" else row["kind"]
    for row in (*study["dissociation"], *study["dissociation_controls"]):
        row["target"] = text
    continuations = [Prompt(text, [Continued(text, text)] * 3)] * 2
    return replace(
        results, **masks, audit=audit, study=study_of(study), continuations=continuations,
        config=text, versions={text: text}, text=text,
    )  # fmt: skip


@pytest.mark.parametrize("text", [HOSTILE, ENDLESS, "\ud800 alone", ""])
def test_hostile_text_changes_nothing_but_itself(results, page, text):
    found = make_page(hostile_results(results, text))
    found.encode("utf-8")
    tame, wild = Reader(page), Reader(found)
    assert not wild.open
    # No kind of element or attribute that the tame page does not have.
    assert {tag for tag, _ in wild.elements} <= {tag for tag, _ in tame.elements}
    for tag in ("script", "style", "title", "figure", "section", "h1", "h2", "main", "img", "a"):
        assert len(wild.all(tag)) == len(tame.all(tag)), tag
    assert {name for _, a in wild.elements for name in a} <= {
        name for _, a in tame.elements for name in a
    }
    if text:
        shown = visible_text(text)
        assert wild.texts["continuations"].count(shown) >= 8
        assert shown in wild.texts["reproduce"]
        manifests = manifests_on(wild)
        assert manifests[0]["model"]["name"] == manifests[1]["about"] == text
    assert "49" not in wild.texts["continuations"]


def test_hidden_characters_are_seen(results):
    page = make_page(hostile_results(results, HOSTILE))
    body = page.replace(_library(), "")
    assert not [c for c in "\u202e\u2066\u200f\x00\x1b" if c in body]
    assert "⟨U+202E⟩right to left⟨U+2066⟩⟨U+200F⟩⟨U+0000⟩⟨U+001B⟩" in body


def test_text_in_plots_is_only_text(results):
    """A name is a value of a row or a literal of an expression, whole or cut short: never code."""
    for kind, one in shown_of(hostile_results(results, HOSTILE)).items():
        spec = json.dumps({key: value for key, value in one.spec.items() if key != "datasets"})
        for expression in re.findall(r'"labelExpr": "((?:[^"\\]|\\.)*)"', spec):
            names, _, rest = json.loads(f'"{expression}"').rpartition("[indexof(")
            assert all(isinstance(line, str) for name in json.loads(names) for line in name), kind
            assert re.fullmatch(r"[\d.,\-e \[\]]+, datum\.value\)\]", rest)
        for key in ("filter", "calculate", "test"):
            assert not [e for e in re.findall(rf'"{key}": "([^"]*)"', spec) if "alert" in e]
        assert "{{" not in one.caption + one.description or HOSTILE[:8] in one.description
    # Names at axes and in hover labels stay short, and so do the figures.
    for one in shown_of(hostile_results(results, ENDLESS)).values():
        assert one.spec
        rows = [row for rows in one.spec["datasets"].values() for row in rows]
        texts = [value for row in rows for value in row.values() if type(value) is str]
        assert max(map(len, texts), default=0) < 200


def test_long_text_has_an_area_of_its_own(results):
    page = make_page(hostile_results(results, ENDLESS))
    read = Reader(page)
    areas = [a for _, a in read.elements if "long" in (a.get("class") or "").split()]
    assert len(areas) > 8
    assert all(a["tabindex"] == "0" and a["aria-label"] and a["role"] == "group" for a in areas)
    title = page.partition("<title>")[2].partition("</title>")[0]
    assert len(title) < 500


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("a\u200db", "a\u200db"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0001", "⟨U+E0001⟩"),
        ("عربي", "عربي"),
        ("\r\n\u2028", "⟨U+000D⟩\n⟨U+2028⟩"),
    ],
)
def test_visible_text(text, shown):
    assert visible_text(text) == shown


def test_parts_of_a_mask_with_a_long_name_are_told_apart():
    for length in (20, 21, 36):
        long = [shorten_middle("w" * 200 + end, length) for end in ("@1 outliers", "@1 rest")]
        assert [len(name) for name in long] == [length] * 2
        assert [name.endswith(end) for name, end in zip(long, ("outliers", "rest"), strict=True)]
    assert shorten_middle("language@1 rest", 36) == "language@1 rest"
    # What is not seen is written out before anything is left out.
    assert "\u202e" not in shorten_middle("a" * 50 + "\u202e" + "rest", 20)


def test_shortened_text():
    assert shorten("a  b\nc", 10) == "a b c"
    assert shorten("w" * 100, 10) == "w" * 9 + "…"
    assert shorten("\n" * 100 + "w", 10).endswith("…")
    assert lines_of("<b> & 'x' " * 4) == ["<b> & 'x' <b> & 'x'", "<b> & 'x' <b> & 'x'"]


def test_json_of_both_kinds():
    content = {"</script>\u202e": ["&", float("nan"), "\ud800"]}
    packed = _json_in_html(content)
    assert not set("<>&\u202e") & set(packed)
    assert json.loads(packed) == {"</script>\u202e": ["&", None, "\ud800"]}
    shown = json_for_people({"a": "é\u202e\ud800"})
    assert "é\\u202e\\ud800" in shown
    assert json.loads(shown) == {"a": "é\u202e\ud800"}


# The file.


def test_nothing_is_loaded_and_no_other_script_runs(page):
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert scripts[0] == _library()
    assert page.count(_library()) == 1
    (policy,) = [
        a["content"] for a in Reader(page).all("meta", **{"http-equiv": "Content-Security-Policy"})
    ]
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert "default-src 'none'" in policy
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy
    own = re.sub(r'src="data:image/svg[^"]*"', "", page.replace(_library(), ""))
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:|//)|url\(|@import", own)


def test_the_same_results_give_the_same_bytes(results_folder, tmp_path):
    first = write_page(results_folder)
    assert first == results_folder / "report.html"
    moved = results_folder.rename(tmp_path / "elsewhere")
    second = write_page(moved, tmp_path / "report.html")
    assert second.read_bytes() == (moved / "report.html").read_bytes()
    assert str(tmp_path).encode() not in second.read_bytes()


def test_a_large_model_fits(results):
    found = large(results)
    assert len(make_page(found).encode()) < 8_000_000
    scores, outliers = (_show(kind, found) for kind in ("scores", "outliers"))
    size = _cell_size((80, 8192))
    assert size == 33
    assert f"a cell is {size} neighbours" in scores.caption
    assert f"of which {FINE.others} are drawn" in outliers.caption
    cells, marked = datasets(scores)
    assert len(cells) <= FINE.cells
    of_cells = found.localization.scores[:, : 248 * size].reshape(80, 248, size)
    strongest = np.abs(of_cells).max(axis=2)
    drawn = np.array([abs(row["score"]) for row in cells]).reshape(80, -1)
    assert np.allclose(drawn[:, :248], strongest, rtol=1e-4)
    assert len(marked) == found.localization.mask.count
    # The table has every selected unit.
    assert len(scores.table.rows) == found.localization.mask.count
    units, beyond = found.localization.mask.units, found.localization.outliers
    rows = datasets(outliers)[0]
    assert sum(row["group"].startswith("selected (") for row in rows) == (units & ~beyond).sum()
    others = [row["t"] for row in rows if row["group"].startswith("other units")]
    assert len(others) == FINE.others
    # The extremes of what is thinned are drawn.
    rest = found.localization.t_values[~units & ~beyond]
    assert np.allclose([min(others), max(others)], [rest.min(), rest.max()], rtol=1e-4)


def test_most_of_a_large_model_selected(results):
    found = large(results, n_layers=24, hidden_size=4096, percentage=50)
    assert len(make_page(found).encode()) < 12_000_000
    assert f"{FINE.marked} are marked" in _show("scores", found).caption
    assert f"at most {FINE.marked} of each kind" in _show("outliers", found).caption


@pytest.mark.parametrize(("total", "most"), [(0, 5), (3, 5), (5, 5), (1000, 7), (100, 1)])
def test_thinning_keeps_the_ends(total, most):
    kept = _thinned(total, most)
    assert len(kept) == len(set(kept.tolist())) <= max(min(total, most), 1)
    if total > 1 and most > 1:
        assert (kept[0], kept[-1]) == (0, total - 1)


def test_cells_of_a_width_that_does_not_divide(results):
    found = large(results, n_layers=2, hidden_size=20_007)
    (cells, _) = datasets(_show("scores", found))
    assert _cell_size((2, 10_000)) == 1
    assert _cell_size((2, 20_007)) == 3
    assert len(cells) == 2 * 6669
    assert max(row["unit"] for row in cells) < 20_007


def test_cells_of_tables():
    rows = [{"p value": 0.0, "low": 0.1, "high": 0.2, "n": float("nan")}, {"p value": 0.048}]
    found = table("Some", rows, "p value:p", "95% = {low:.3f} to {high:.3f}", "n:.1f")
    assert [column.head for column in found.columns] == ["p value", "95%", "n"]
    shown = [[column.cell(row) for column in found.columns] for row in found.rows]
    assert shown == [["<1e-300", "0.100 to 0.200", "–"], ["0.048", "–", "–"]]
    assert p_text(0.0481) == "0.048"


# Errors are one line.


def test_the_command(results_folder, tmp_path, capsys):
    assert run(["report", str(results_folder)]) == 0
    assert capsys.readouterr().out == f"wrote {results_folder / 'report.html'}\n"
    target = tmp_path / "pages" / "page.html"
    assert run(["report", str(results_folder), "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_that_is_none(tmp_path, capsys):
    assert run(["report", str(tmp_path / "nowhere")]) == 2
    assert run(["report", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "is not there" in lines[0]
    assert "is not a results folder" in lines[1]


def test_a_place_that_cannot_be_written_to(results_folder, tmp_path, capsys):
    assert run(["report", str(results_folder), "-o", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "could not be written" in line


@pytest.mark.parametrize("package", ["jinja2", "vl-convert-python"])
def test_without_the_extra(results, monkeypatch, package):
    module = {"vl-convert-python": "vl_convert"}.get(package, package)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    _library.cache_clear()
    with pytest.raises(LsnsError, match=rf"needs? {package}: pip install 'lsns\[report\]'"):
        make_page(results)
