"""What is drawn is what was found: rows, marks and words, legible and inside; in every format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

import lsns
from lsns import LsnsError
from lsns.cli import FigureKind, run
from lsns.localization import Localization
from lsns.overlap import overlap
from lsns.report.figures import COLUMN, KINDS, draw_svg, plot, save_chart, write_figure
from lsns.report.figures_study import _longest_series, _of_mask, lesions_of
from lsns.report.figures_units import _expected_recurring, _name_masks, _over_median, _recurring
from lsns.report.results import read_results
from lsns.report.style import CONTROL_LOOKS, _spaced, one_two_five
from tests.report.conftest import (
    DOSES,
    OUTLIER_DIMENSIONS,
    SEEDS,
    large,
    make_manifest,
    write_localization,
)


@pytest.fixture
def models(tmp_path):
    """Results of three models of different depth."""
    found = []
    for seed, (label, n_layers) in enumerate((("small", 6), ("middle", 12), ("deep", 30))):
        write_localization(tmp_path / label, seed, label=label, n_layers=n_layers)
        found.append(read_results(tmp_path / label))
    return found


def rows_of(chart, *fields):
    """The rows of a chart that have these fields."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for rows in datasets for row in rows if set(fields) <= row.keys()]


def largest(chart):
    """The rows of the largest of a chart's datasets."""
    return max(chart.to_dict()["datasets"].values(), key=len)


def svg_of(chart):
    return ET.fromstring(draw_svg(chart.to_dict(), COLUMN))


def marks(svg, kind):
    """Of each layer of a chart that has marks of a kind, these."""
    groups = [g for g in svg.iter() if f"mark-{kind} role-mark" in g.get("class", "")]
    return [list(group) for group in groups if len(group)]


def texts(svg):
    return [t for t in svg.iter() if t.tag.endswith("}text") and "".join(t.itertext()).strip()]


def words(svg):
    """The lines of all texts."""
    return [line for text in texts(svg) for line in text.itertext()]


# What is drawn.


def test_layers_are_the_masks_shares(made, results):
    chart = plot("layers", results)
    shares = 100 * made.mask.per_layer / made.mask.units.shape[1]
    assert np.allclose([row["% of layer"] for row in rows_of(chart, "layer")], shares)
    (bars,) = marks(svg_of(chart), "rect")
    heights = [float(re.findall(r"v([\d.]+)", bar.get("d"))[0]) for bar in bars]
    assert np.allclose(np.array(heights) / max(heights), shares / shares.max(), atol=1e-6)
    assert rows_of(chart, "at")[0]["at"] == pytest.approx(2.0, abs=0.01)


def test_heatmap_has_a_column_for_each_model(models):
    chart = plot("heatmap", *models)
    rows = rows_of(chart, "model")
    for place, item in enumerate(models):
        own = [row for row in rows if row["place"] == place]
        units = item.localization.mask.units
        assert {row["model"] for row in own} == {item.manifest["model"]["label"]}
        assert np.allclose([row["% of layer"] for row in own], 100 * units.mean(axis=1))
        # Models of any depth fill the column: relative depth.
        assert (own[0]["start"], own[-1]["end"]) == (0, 100)
    svg = svg_of(chart)
    assert len(marks(svg, "rect")[0]) == len(rows)
    assert "Depth (% of layers)" in words(svg)
    assert {"small", "middle", "deep"} <= set(words(svg))
    assert "Layer" in words(svg_of(plot("heatmap", models[0], models[0])))


def test_score_map_is_the_scores_with_the_selected_marked(made, results):
    chart = plot("scores", results)
    datasets = chart.to_dict()["datasets"].values()
    cells, selected = sorted(datasets, key=len, reverse=True)
    for name, values in (
        ("score", "scores"),
        ("t", "t_values"),
        ("mean |activation|", "magnitudes"),
    ):
        shown = np.array([row[name] for row in cells]).reshape(made.mask.units.shape)
        assert np.allclose(shown, made.metadata[values], rtol=1e-3)
    places = {(row["layer"], row["unit"]) for row in selected}
    assert places == {*zip(*map(np.ndarray.tolist, np.nonzero(made.mask.units)), strict=True)}
    svg = svg_of(chart)
    assert [len(group) for group in marks(svg, "rect")] == [made.mask.units.size]
    assert [len(group) for group in marks(svg, "symbol")] == [made.mask.count]
    # Scores below 0 are there: colours diverge from 0.
    assert _colours(chart)["scheme"] == "blueorange"
    low, high = _colours(chart)["domain"]
    assert low == -high
    positive = replace(results.localization, scores=np.abs(made.metadata["scores"]))
    chart = plot("scores", replace(results, localization=positive))
    assert _colours(chart)["domain"][0] == 0


def _colours(chart):
    return chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]


def test_methods_per_layer(made, results):
    chart = plot("methods", results)
    rows = rows_of(chart, "method")
    for name, mask in (("T-test", made.mask), ("NMD", made.nmd)):
        own = [row["units"] for row in rows if row["method"].startswith(name)]
        assert own == mask.per_layer.tolist()
    both = overlap(made.mask.units, made.nmd.units)
    shown = words(svg_of(chart))
    assert f"{both.shared} units in both, {both.expected:.1f} by chance" in shown
    few = replace(results.nmd.mask, units=made.nmd.units[:3])
    with pytest.raises(LsnsError, match="different models"):
        plot("methods", replace(results, nmd=replace(results.nmd, mask=few)))


def test_outlier_audit_has_every_unit_once(made, results):
    units, outliers = made.mask.units, made.metadata["outliers"]
    rows = rows_of(plot("outliers", results), "group")
    ratio = made.magnitudes / np.median(made.magnitudes, axis=1, keepdims=True)
    groups = {
        "other units (": ~units & ~outliers,
        "selected (": units & ~outliers,
        "outlier, not selected": ~units & outliers,
        "selected outlier": units & outliers,
    }
    for name, group in groups.items():
        own = [row for row in rows if row["group"].startswith(name)]
        assert np.allclose([row["× median"] for row in own], ratio[group], rtol=1e-4)
        assert np.allclose([row["t"] for row in own], made.metadata["t_values"][group], rtol=1e-4)
    svg = svg_of(plot("outliers", results))
    assert [len(group) for group in marks(svg, "symbol")] == [units.size]
    assert {"1", "10"} <= set(words(svg))


def test_outlier_audit_of_silent_units(made):
    magnitudes = made.magnitudes.copy()
    magnitudes[0] = 0.0
    assert (_over_median(magnitudes) > 0).all()


def test_overlap_matrix(made, results):
    both = replace(results, nmd=results.localization)
    names = {row["mask"] for row in rows_of(plot("overlap", results, both), "Dice")}
    chart = plot("overlap", results)
    (row,) = rows_of(chart, "Dice")
    dice = overlap(made.mask.units, made.nmd.units).dice
    assert row["Dice"] == pytest.approx(dice)
    svg = svg_of(chart)
    assert f"{dice:.2f}" in words(svg)
    assert words(svg).count(f"{made.mask.count} units") == 2
    assert len(names) == 3
    with pytest.raises(LsnsError, match="needs two masks"):
        plot("overlap", replace(results, nmd=None))


def test_recurring_dimensions(made, results):
    units, outliers = made.mask.units, made.metadata["outliers"]
    rows = rows_of(plot("recurrence", results), "state")
    shown = _recurring(units)
    assert shown[0] == OUTLIER_DIMENSIONS[0]
    for state, cells in (("selected", units), ("outlier", outliers)):
        drawn = {(row["layer"], row["unit"]) for row in rows if row["state"] == state}
        assert drawn == {(i, d) for i, d in zip(*np.nonzero(cells), strict=True) if d in shown}
    found = marks(svg_of(plot("recurrence", results)), "symbol")
    assert sum(map(len, found)) == len(rows)


def test_recurrence_by_chance_is_that_of_random_masks():
    units = np.zeros((6, 50), dtype=bool)
    for layer, count in enumerate((5, 10, 0, 20, 1, 50)):
        units[layer, :count] = True
    rng = np.random.RandomState(0)
    drawn = [
        (np.stack([rng.permutation(row) for row in units]).sum(axis=0) > 1).sum()
        for _ in range(2000)
    ]
    assert _expected_recurring(units) == pytest.approx(np.mean(drawn), rel=0.02)


def test_effects_show_every_control_as_a_dot(results):
    lesions = _of_mask(lesions_of(results), results.localization.mask.digest)
    controls = [c for item in lesions for kind in item.controls for c in item.changes(kind)]
    rows = rows_of(plot("effects", results), "kind")
    drawn = [row["change"] for row in rows if row["kind"] != "lesion, 95%"]
    assert np.allclose(sorted(drawn), sorted(controls))
    svg = svg_of(plot("effects", results))
    assert sum(map(len, marks(svg, "symbol"))) == len(controls) + len(lesions)
    seeds = Counter(row["condition"] for row in rows)
    assert seeds[f"uniform, seed {SEEDS[0]}"] == len(lesions)


def test_effects_have_intervals(results):
    rows = [row for row in rows_of(plot("effects", results), "low") if row["low"] is not None]
    lesions = _of_mask(lesions_of(results), results.localization.mask.digest)
    for item, row in zip(lesions, rows, strict=True):
        # Bits per token, of a log ratio in nats; percentage points of accuracy.
        factor = 1 / np.log(2) if item.unit == "bits per token" else 100
        assert row["change"] == pytest.approx(factor * item.row.difference)
        ends = [factor * getattr(item.row, f"difference_{end}") for end in ("low", "high")]
        assert np.allclose([row["low"], row["high"]], ends)
    assert "(bits per token)" in words(svg_of(plot("effects", results)))


def test_effects_lanes_are_named(results):
    lesions = _of_mask(lesions_of(results), results.localization.mask.digest)
    assert {item.row.target for item in lesions} == {
        "language@2", "language@2 outliers", "language@2 rest",
    }  # fmt: skip
    assert len(_of_mask(lesions_of(results), "no such mask")) > len(lesions)
    svg = svg_of(plot("effects", results))
    shown = words(svg)
    start = shown.index("language@2")
    assert shown[start : start + 5] == [
        "language@2", "uniform", "layer-matched", "magnitude-matched", "least selective",
    ]  # fmt: skip
    heavy = {"".join(t.itertext()) for t in texts(svg) if t.get("font-weight") == "bold"}
    assert {"language@2", "language@2 outliers", "language@2 rest"} <= heavy
    assert "uniform" not in heavy


def test_dose_has_the_lesion_with_its_interval(results):
    rows = rows_of(plot("dose", results), "percentage", "lesion")
    lesions = _longest_series(lesions_of(results))
    own = [row for row in rows if row["kind"] == "lesion, 95%"]
    drawn = {(row["percentage"], row["change"], row["low"], row["high"]) for row in own}
    assert len(own) == len(lesions)
    assert drawn == {(item.row.percentage, *item.change(item.row)) for item in lesions}
    assert {row["percentage"] for row in rows} == set(DOSES)
    assert {"1", "2", "5"} <= set(words(svg_of(plot("dose", results))))


def test_dose_has_the_band_of_the_controls_of_each_kind(results):
    rows = rows_of(plot("dose", results), "percentage", "lesion")
    first = [item for item in _longest_series(lesions_of(results)) if item.unit == "points"][:3]
    for item in first:
        for kind in item.controls:
            changes = item.changes(kind)
            assert len(changes) == (1 if kind == "least" else len(SEEDS))
            (row,) = [
                row
                for row in rows
                if row["kind"] == CONTROL_LOOKS[kind].words
                and row["percentage"] == item.row.percentage
                and row["change"] == pytest.approx(np.mean(changes))
            ]
            assert (row["low"], row["high"]) == (min(changes), max(changes))
    # Of the least selective units there is one mask, and no band.
    assert [len(group) for group in marks(svg_of(plot("dose", results)), "area")] in (
        [1] * 9,
        [3] * 3,
    )


def test_dose_is_of_one_series(results):
    lesions = _longest_series(lesions_of(results))
    assert {item.row.target for item in lesions} == {"language@1", "language@2", "language@5"}
    one = [item for item in lesions_of(results) if item.row.target == "language@2"]
    assert _longest_series(one) == []


def test_reliability(results):
    rows = results.audit.reliability.rows
    drawn = largest(plot("reliability", results))
    for split, name in (("halves", "halves (n = 20)"), ("folds", "folds (n = 10)")):
        of_split = [row for row in rows if row.split == split]
        own = [row for row in drawn if row["series"] == name]
        assert np.allclose([row["dice"] for row in own], [row.dice for row in of_split])
        assert np.allclose([r["at"] for r in own], [r.percentage for r in of_split], rtol=0.05)
        assert [row["low"] for row in own] == [row.dice_low for row in of_split]
    svg = svg_of(plot("reliability", results))
    # Folds were not shuffled: nothing is drawn for that.
    assert [len(group) for group in marks(svg, "symbol")] == [8, 4]
    assert [row["dice"] for row in rows_of(plot("reliability", results), "at", "dice")
            if "series" not in row] == [0.005, 0.01, 0.02, 0.05]  # fmt: skip


def test_reliability_of_a_number_of_units(results):
    reliability = results.audit.reliability
    rows = tuple(
        replace(row, percentage=None, units=288) if row.percentage == 2 else row
        for row in reliability.rows
    )
    audit = replace(results.audit, reliability=replace(reliability, rows=rows))
    chart = plot("reliability", replace(results, audit=audit))
    own = [row["percentage"] for row in largest(chart) if row["chosen"]]
    assert own == [25, 25]


def test_profile(results):
    rows = rows_of(plot("profile", results), "condition")
    assert [row["mean"] for row in rows] == [0.52, -0.5, 0.2]
    svg = svg_of(plot("profile", results))
    assert [len(group) for group in marks(svg, "symbol")] == [3]
    assert {"positive", "(40 items)", "unconnected words", "(24 items)"} <= set(words(svg))


def test_protocols(results, made):
    rows = rows_of(plot("protocols", results), "what")
    drawn = {name: [row["number"] for row in rows if row["what"] == name]
             for name in ("shared", "chance", "chance within layers")}  # fmt: skip
    assert drawn == {"shared": [6, 14], "chance": [0.46, 0.46], "chance within layers": [0.9, 1.1]}
    svg = svg_of(plot("protocols", results))
    assert [len(group) for group in marks(svg, "symbol")] == [6]
    assert f"Shared units (of {made.mask.count})" in words(svg)
    with pytest.raises(LsnsError, match="overlaps of the audit is empty"):
        plot("protocols", replace(results, audit=replace(results.audit, overlaps=())))


def test_of_what_was_found_alone(made, results):
    """What `evaluate`, `audit` and `localize` give needs no folder."""
    no_mask = replace(results, localization=None)
    assert plot("effects", results.study).to_dict() == plot("effects", no_mask).to_dict()
    assert plot("profile", results.audit).to_dict() == plot("profile", results).to_dict()
    known = results.localization
    measured = SimpleNamespace(
        all_items=SimpleNamespace(abs_mean=known.magnitudes), sizes={"pooled": known.magnitudes}
    )
    found = Localization(
        known.mask, known.scores, known.t_values, known.p_values, known.manifest, measured, None
    )
    assert plot("outliers", found).to_dict() == plot("outliers", results).to_dict()
    with pytest.raises(LsnsError, match=r"Study: layers cannot be drawn: there is no local"):
        plot("layers", results.study)


# How it is drawn.


@pytest.fixture
def drawn(request, results, models):
    kind = request.param
    return plot(kind, *models) if kind == "heatmap" else plot(kind, results)


every_kind = pytest.mark.parametrize("drawn", list(KINDS), indirect=True)


@every_kind
def test_a_column_wide_labelled_and_legible(drawn):
    svg = svg_of(drawn)
    assert round(float(svg.get("width"))) == COLUMN
    sizes = [float(text.get("font-size").removesuffix("px")) for text in texts(svg)]
    # Points, of which there are 72 to the inch, and 96 pixels.
    assert min(sizes) * 72 / 96 >= 7
    titles = [g for g in svg.iter() if "role-axis-title" in g.get("class", "") or "role-title" in
              g.get("class", "")]  # fmt: skip
    assert titles
    assert max(len(word) for word in words(svg)) < 60


# Every kind in both formats.
@pytest.mark.parametrize(("kind", "ending"), list(zip(KINDS, cycle(("png", "svg")), strict=False)))
def test_the_same_bytes_twice(kind, ending, results, tmp_path):
    first, second = (
        save_chart(plot(kind, results), tmp_path / f"{number}.{ending}").read_bytes()
        for number in (1, 2)
    )
    assert first == second
    assert len(first) > 2000
    assert not re.search(rb"20\d\d-\d\d-\d\d", first)


def test_files_are_fit_for_a_paper(results, tmp_path):
    chart = plot("layers", results)
    png = save_chart(chart, tmp_path / "f.png").read_bytes()
    assert int.from_bytes(png[16:20]) == pytest.approx(85 / 25.4 * 300, abs=1)
    pdf = save_chart(chart, tmp_path / "f.pdf").read_bytes()
    box = re.findall(rb"/MediaBox *\[0 0 ([\d.]+)", pdf)
    assert float(box[0]) == pytest.approx(85 / 25.4 * 72, abs=1)
    assert b"/FontFile" in pdf
    assert b"/Type3" not in pdf
    svg = save_chart(chart, tmp_path / "f.SVG").read_text()
    assert svg.startswith("<svg")
    spec = json.loads(save_chart(chart, tmp_path / "f.json").read_text())
    assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    page = save_chart(chart, tmp_path / "f.html").read_text()
    assert "unsafe-eval" not in page
    assert 'id="plot-chart"' in page


def test_series_differ_in_more_than_colour():
    looks = CONTROL_LOOKS.values()
    assert len({look.shape for look in looks}) == len({look.dash for look in looks}) == len(looks)


def test_where_a_figure_cannot_be_written(results, tmp_path):
    chart = plot("layers", results)
    with pytest.raises(LsnsError, match="ends in pdf, svg, png, json, html"):
        save_chart(chart, tmp_path / "f.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(LsnsError, match="could not be written"):
        save_chart(chart, tmp_path / "file" / "f.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results"]


def test_charts_are_joined_restyled_and_shown(results_folder, tmp_path):
    one, other = lsns.plot("layers", results_folder), lsns.plot("methods", str(results_folder))
    joined = (one | other).properties(title="Both")
    svg = ET.fromstring(save_chart(joined, tmp_path / "f.svg").read_text())
    assert sum(map(len, marks(svg, "rect"))) == 12 + 24
    assert float(svg.get("width")) > 1.5 * COLUMN
    below = ET.fromstring(save_chart(one & other, tmp_path / "g.svg").read_text())
    assert round(float(below.get("width"))) == COLUMN
    wide = one.properties(width=500).to_dict()
    assert wide["width"] == 500
    # What a notebook asks for.
    assert "vega" in str(one._repr_mimebundle_(None, None))[:100_000]


def test_altair_is_imported_for_figures_alone_and_torch_not_at_all(results_folder):
    code = f"""
import sys
import lsns, lsns.cli
from lsns.report.results import read_results
found = read_results({str(results_folder)!r})
assert callable(lsns.plot)
assert not {{"altair", "vl_convert", "pandas", "torch"}} & sys.modules.keys()
lsns.plot("scores", found).to_dict()
assert "altair" in sys.modules
assert not {{"torch", "matplotlib", "plotly"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["scores", "outliers", "layers"])
def test_a_large_model_is_drawn_soon(results, kind):
    found = large(results)
    plot("layers", results)
    start = time.process_time()
    chart = plot(kind, found).to_dict()
    assert time.process_time() - start < 2
    assert max(map(len, chart["datasets"].values())) <= 20_000


# Results to figures.


def test_panels_for_every_benchmark(results):
    for kind in ("effects", "dose"):
        titles = [panel["title"]["text"] for panel in plot(kind, results).to_dict()["vconcat"]]
        assert titles == [
            ["minimal-pairs, 60 items"], ["perplexity, 60 windows"], ["arithmetic, 60 items"],
        ]  # fmt: skip


def test_names_tell_masks_apart(models, results):
    found = [(item.localization, item.folder) for item in models]
    assert _name_masks(found) == ["small", "middle", "deep"]
    pair = [(one, results.folder) for one in (results.localization, results.nmd)]
    assert _name_masks(pair) == ["T-test", "NMD"]
    assert _name_masks(pair[:1]) == ["tiny"]
    # Nothing in the manifests differs: the folders do.
    same = [(results.localization, item.folder) for item in models[:2]]
    assert _name_masks(same) == ["1 small", "2 middle"]


def test_networks_of_one_model_are_named_by_network(results):
    masks = [
        replace(results.localization.mask, manifest=make_manifest(network=name))
        for name in ("language", "multiple-demand")
    ]
    found = [
        replace(results, nmd=None, localization=replace(results.localization, mask=mask))
        for mask in masks
    ]
    (row,) = rows_of(plot("overlap", *found), "Dice")
    assert (row["other mask"], row["mask"]) == ("language", "multiple-demand")


@pytest.mark.parametrize(
    ("kind", "gone", "message"),
    [
        ("layers", "localization", "there is no localization.npz"),
        ("methods", "nmd", "there is no localization-nmd.npz"),
        ("dose", "study", "there is no study of a lesion"),
        ("effects", "study", "there is no study of a lesion"),
        ("reliability", "audit", "there is no audit.json"),
        ("profile", "audit", "there is no audit.json"),
        ("overlap", "nmd", "several results folders can be given"),
    ],
)
def test_what_is_missing_is_said(results, kind, gone, message):
    with pytest.raises(LsnsError, match=re.escape(message)) as found:
        plot(kind, replace(results, **{gone: None}))
    assert str(found.value).startswith(f"{results.folder}: {kind} cannot be drawn: ")


def test_why_a_section_is_missing_is_said(results):
    audit = replace(results.audit, selectivity=None, missing={"selectivity": "one fold only"})
    with pytest.raises(LsnsError, match="profile cannot be drawn: one fold only"):
        plot("profile", replace(results, audit=audit))


def test_lesions_of_has_the_controls_of_each(results):
    found = [item for item in lesions_of(results) if item.row.benchmark == "minimal-pairs"]
    assert [item.row.target for item in found] == [
        "language@1", "language@2", "language@5", "language@2 outliers", "language@2 rest",
    ]  # fmt: skip
    for item in found:
        assert {row.target for rows in item.controls.values() for row in rows} == {item.row.target}
        assert len(item.controls["uniform"]) == len(SEEDS)


def test_ticks_of_a_logarithmic_axis():
    assert _spaced([1.0]) == [1.0]
    assert _spaced([5, 1, 2, 2]) == [1, 2, 5]
    assert _spaced([1, 1.01, 10]) == [1, 10]
    assert np.allclose(one_two_five(0.4, 30), [0.5, 1, 2, 5, 10, 20])


# The command.


def plotted(capsys, *arguments):
    code = run(["plot", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "json", "html"])
def test_the_command(capsys, results_folder, tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    assert plotted(capsys, "layers", results_folder, "-o", path) == (0, f"wrote {path}\n", "")
    starts = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF", "json": b"{", "html": b"<!DOCTYPE"}
    assert path.read_bytes().startswith(starts[ending])


def test_the_command_on_several(capsys, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = plotted(capsys, "heatmap", *(item.folder for item in models))
    assert code == 0
    assert (tmp_path / "heatmap.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layer", "results"), 'Did you mean "layers"?'),
        (("layers",), "one results folder, 0 were given"),
        (("layers", "results", "results"), "2 were given; several are for heatmap and overlap"),
        (("layers", "nowhere"), "nowhere is not there"),
        (("layers", "results", "-o", "f.gif"), "ends in pdf, svg, png, json, html"),
        (("overlap", "results", "small"), "masks of different models"),
    ],
)
def test_errors_are_one_line(capsys, results_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_localization(tmp_path / "small", n_layers=3)
    code, out, error = plotted(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1


def test_without_altair(capsys, results_folder, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lsns.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "altair", None)
    code, _, error = plotted(capsys, "layers", results_folder)
    assert code == 2
    assert error == "lsns: figures need altair: pip install 'lsns[report]'\n"


def test_the_commands_kinds_are_all_there_are(tmp_path):
    assert get_args(FigureKind) == tuple(KINDS)
    with pytest.raises(LsnsError, match="no figure 'pie'; use one of layers"):
        write_figure("pie", [tmp_path], tmp_path / "f.png")
