"""What is drawn is what was found: heights, dots, arrays and words, legible and inside."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from lsns import LsnsError
from lsns.cli import FigureKind, run
from lsns.overlap import overlap
from lsns.report import figures
from lsns.report.figures import KINDS, SEVERAL, draw, name_masks, save_figure
from lsns.report.figures_study import dose_rows, effect_rows, lesions_of, rows_of
from lsns.report.figures_style import one_two_five, spaced
from lsns.report.figures_units import expected_recurring, recurring
from lsns.report.results import read_results
from tests.report.conftest import (
    DOSES,
    OUTLIER_DIMENSIONS,
    SEEDS,
    make_manifest,
    write_localization,
)

MM = 1 / 25.4


@pytest.fixture
def models(tmp_path):
    """Results of three models of different depth."""
    found = []
    for seed, (label, n_layers) in enumerate((("small", 6), ("middle", 12), ("deep", 30))):
        write_localization(tmp_path / label, seed, label=label, n_layers=n_layers)
        found.append(read_results(tmp_path / label))
    return found


def offsets(collection):
    return np.asarray(collection.get_offsets())


def dots(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def labelled(ax, label):
    handles, labels = ax.get_legend_handles_labels()
    (found,) = [h for h, name in zip(handles, labels, strict=True) if name.startswith(label)]
    return found


def text_of(ax):
    return [text.get_text() for text in ax.texts]


# What is drawn.


def test_layers_are_the_masks_shares(made):
    ax = figures.plot_layers(made.mask.units)
    heights = [bar.get_height() for bar in ax.patches]
    assert np.allclose(heights, 100 * made.mask.per_layer / made.mask.units.shape[1])
    (line,) = ax.lines
    assert np.allclose(line.get_ydata(), 100 * made.mask.count / made.mask.units.size)


def meshes(ax):
    return [c for c in ax.collections if isinstance(c, QuadMesh)]


def test_heatmap_has_a_column_for_each_model(models):
    masks = {item.manifest["model"]["label"]: item.localization.mask.units for item in models}
    ax = figures.plot_heatmap(masks)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["small", "middle", "deep"]
    for place, (mesh, units) in enumerate(zip(meshes(ax), masks.values(), strict=True)):
        assert np.allclose(np.ravel(mesh.get_array()), 100 * units.mean(axis=1))
        corners = mesh.get_coordinates()
        # Models of any depth fill the column: relative depth.
        assert (corners[..., 1].min(), corners[..., 1].max()) == (0, 100)
        assert np.allclose(np.unique(corners[..., 0]), [place - 0.5, place + 0.5])
        assert mesh.get_clim() == meshes(ax)[0].get_clim()
    largest = max(100 * units.mean(axis=1).max() for units in masks.values())
    assert meshes(ax)[0].get_clim() == (0, pytest.approx(largest))


def test_heatmap_by_layer(models):
    masks = {str(n): item.localization.mask.units for n, item in enumerate(models)}
    ax = figures.plot_heatmap(masks, depth="absolute")
    tops = [mesh.get_coordinates()[..., 1].max() for mesh in meshes(ax)]
    assert tops == [5.5, 11.5, 29.5]
    assert ax.get_ylabel() == "Layer"
    alike = figures.plot_heatmap({"a": masks["0"], "b": masks["0"]})
    assert alike.get_ylabel() == "Layer"
    with pytest.raises(LsnsError, match="at least one mask"):
        figures.plot_heatmap({})


def test_score_map_is_the_scores_with_the_selected_marked(made):
    scores = made.metadata["scores"]
    ax = figures.plot_scores(scores, made.mask.units, label="t")
    (image,) = ax.images
    assert np.array_equal(image.get_array(), scores)
    # Scores below 0 are there: colours diverge from 0.
    low, high = image.get_clim()
    assert low == -high
    columns, rows = offsets(dots(ax)[0]).T
    marked = np.zeros_like(made.mask.units)
    marked[rows.astype(int), columns.astype(int)] = True
    assert np.array_equal(marked, made.mask.units)
    assert len(rows) == made.mask.count
    positive = figures.plot_scores(np.abs(scores), made.mask.units)
    assert positive.images[0].get_clim()[0] == 0
    assert positive.images[0].get_cmap().name == "viridis"


def test_methods_per_layer(made):
    ax = figures.plot_methods(made.mask.units, made.nmd.units)
    first, second = ax.containers
    assert [bar.get_height() for bar in first] == made.mask.per_layer.tolist()
    assert [bar.get_height() for bar in second] == made.nmd.per_layer.tolist()
    both = overlap(made.mask.units, made.nmd.units)
    title = ax.get_legend().get_title().get_text()
    assert title == f"{both.shared} units in both, {both.expected:.1f} by chance"
    with pytest.raises(LsnsError, match="different models"):
        figures.plot_methods(made.mask.units, made.nmd.units[:3])


def test_outlier_audit_has_every_unit_once(made):
    units, outliers = made.mask.units, made.metadata["outliers"]
    t = made.metadata["t_values"]
    ax = figures.plot_outliers(made.magnitudes, t, units, outliers)
    groups = [units & ~outliers, ~units & outliers, units & outliers, ~units & ~outliers]
    names = ["selected (", "outlier, not", "selected outlier", "other units"]
    ratio = made.magnitudes / np.median(made.magnitudes, axis=1, keepdims=True)
    for name, group in zip(names, groups, strict=True):
        points = offsets(labelled(ax, name))
        assert len(points) == group.sum()
        assert np.allclose(points, np.stack([ratio[group], t[group]], axis=1))
    # Outliers are what lies beyond the line, and nothing else is.
    assert (offsets(labelled(ax, "selected outlier"))[:, 0] > 10).all()
    assert (offsets(labelled(ax, "other units"))[:, 0] <= 10).all()
    assert ax.get_xscale() == "log"


def test_outlier_audit_of_silent_units(made):
    magnitudes = made.magnitudes.copy()
    magnitudes[0] = 0.0
    ax = figures.plot_outliers(magnitudes, magnitudes * 0, made.mask.units, magnitudes > 1e9)
    assert all((offsets(c)[:, 0] > 0).all() for c in dots(ax))


def test_overlap_matrix(made):
    masks = {"T-test": made.mask.units, "NMD": made.nmd.units, "again": made.mask.units}
    ax = figures.plot_overlap(masks)
    shown = ax.images[0].get_array()
    dice = overlap(made.mask.units, made.nmd.units).shared / made.mask.count
    assert shown[1, 0] == pytest.approx(dice)
    assert shown[2, 0] == 1
    assert shown[2, 1] == pytest.approx(dice)
    assert shown.mask.sum() == 6
    assert f"{dice:.2f}" in text_of(ax)
    assert text_of(ax).count(str(made.mask.count)) == 3
    with pytest.raises(LsnsError, match="at least two masks; got 1"):
        figures.plot_overlap({"one": made.mask.units})


def test_recurring_dimensions(made):
    units, outliers = made.mask.units, made.metadata["outliers"]
    ax = figures.plot_recurrence(units, outliers, top=4)
    shown = [int(t.get_text()) for t in ax.get_yticklabels()]
    assert shown == recurring(units, 4)
    assert shown[0] == OUTLIER_DIMENSIONS[0]
    for label, cells in (("selected", units), ("outlier", outliers)):
        drawn = {(int(layer), shown[int(row)]) for layer, row in offsets(labelled(ax, label))}
        assert drawn == {(i, d) for i, d in zip(*np.nonzero(cells), strict=True) if d in shown}


def test_recurrence_by_chance_is_that_of_random_masks():
    units = np.zeros((6, 50), dtype=bool)
    for layer, count in enumerate((5, 10, 0, 20, 1, 50)):
        units[layer, :count] = True
    rng = np.random.RandomState(0)
    drawn = [
        (np.stack([rng.permutation(row) for row in units]).sum(axis=0) > 1).sum()
        for _ in range(2000)
    ]
    assert expected_recurring(units) == pytest.approx(np.mean(drawn), rel=0.02)


def test_effects_show_every_control_as_a_dot(results):
    rows = rows_of(results.summary, "minimal-pairs")
    ax = figures.plot_effects(rows)
    controls = [row for row in rows if row.condition == "control"]
    assert sum(len(offsets(c)) for c in dots(ax)) == len(controls)
    drawn = sorted(x for c in dots(ax) for x in offsets(c)[:, 0])
    assert np.allclose(drawn, sorted(100 * row.difference for row in controls))


def test_effects_have_intervals(results):
    rows = [row for row in rows_of(results.summary, "perplexity") if row.condition == "lesion"]
    ax = figures.plot_effects(rows)
    containers = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    for row, container in zip(rows, containers, strict=True):
        line, _, (bar,) = container.lines
        # Bits per token, of a log ratio in nats.
        assert line.get_xdata()[0] == pytest.approx(row.difference / math.log(2))
        ends = bar.get_segments()[0][:, 0] * math.log(2)
        assert np.allclose(ends, [row.difference_low, row.difference_high])
    assert "bits per token" in ax.get_xlabel()


def test_effects_lanes_are_named(results):
    rows = effect_rows(rows_of(results.summary, "minimal-pairs"), "no such mask")
    digest = results.localization.mask.digest
    few = effect_rows(rows_of(results.summary, "minimal-pairs"), digest)
    assert {row.target for row in few} == {
        "language@2",
        "language@2 outliers",
        "language@2 rest",
    }
    assert len(rows) > len(few)
    names = [t.get_text() for t in figures.plot_effects(few).get_yticklabels()]
    assert names[:5] == [
        "language@2", "uniform", "layer-matched", "magnitude-matched", "least selective",
    ]  # fmt: skip
    assert names.count("language@2 outliers") == 1
    heavy = [t.get_text() for t in figures.plot_effects(few).get_yticklabels() if bold(t)]
    assert heavy == ["language@2", "language@2 outliers", "language@2 rest"]


def bold(text):
    return text.get_fontweight() == "bold"


def test_effects_of_two_modes_say_which(results):
    rows = rows_of(results.summary, "minimal-pairs")
    both = rows + [replace(row, mode="mean") for row in rows if row.condition == "lesion"]
    names = [t.get_text() for t in figures.plot_effects(both).get_yticklabels()]
    assert "language@2, zero" in names
    assert "language@2, mean" in names


def test_a_control_of_another_kind_is_drawn(results):
    rows = effect_rows(rows_of(results.summary, "minimal-pairs"), None)
    rows = [replace(row, control="mine") if row.control == "layer" else row for row in rows]
    names = [t.get_text() for t in figures.plot_effects(rows).get_yticklabels()]
    assert "mine" in names


def test_effects_are_of_one_benchmark(results):
    with pytest.raises(LsnsError, match="one benchmark were expected; got 3"):
        figures.plot_effects(results.summary)
    intact = [row for row in results.summary if row.condition == "intact"][:1]
    with pytest.raises(LsnsError, match="no lesion"):
        figures.plot_effects(intact)


def test_dose_has_the_lesion_with_its_interval(results):
    rows = rows_of(dose_rows(results.summary), "minimal-pairs")
    ax = figures.plot_dose(rows)
    lesions = [row for row in rows if row.condition == "lesion"]
    line, _, (bars,) = labelled(ax, "lesion").lines
    assert line.get_xdata().tolist() == list(DOSES)
    assert np.allclose(line.get_ydata(), [100 * row.difference for row in lesions])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    wanted = [[100 * row.difference_low, 100 * row.difference_high] for row in lesions]
    assert np.allclose(ends, wanted)
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "5"]


def test_dose_has_the_band_of_the_controls_of_each_kind(results):
    rows = rows_of(dose_rows(results.summary), "minimal-pairs")
    ax = figures.plot_dose(rows)
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    kinds = ["uniform", "layer", "magnitude"]
    assert len(bands) == len(kinds)
    words = ["uniform", "layer-matched", "magnitude-matched"]
    for kind, name, band in zip(kinds, words, bands, strict=True):
        corners = band.get_paths()[0].vertices
        means = labelled(ax, name).get_ydata()
        for place, dose in enumerate(DOSES):
            values = [
                100 * row.difference
                for row in rows
                if row.control == kind and row.percentage == dose
            ]
            assert len(values) == len(SEEDS)
            at_dose = corners[np.isclose(corners[:, 0], dose), 1]
            assert at_dose.min() == pytest.approx(min(values))
            assert at_dose.max() == pytest.approx(max(values))
            assert means[place] == pytest.approx(np.mean(values))


def test_dose_rows_are_of_one_series(results):
    targets = {row.target for row in dose_rows(results.summary)}
    assert targets == {"language@1", "language@2", "language@5"}
    one = [row for row in results.summary if row.target in ("", "language@2")]
    assert dose_rows(one) == []
    with pytest.raises(LsnsError, match="two percentages or more"):
        figures.plot_dose(rows_of(one, "minimal-pairs"))
    with pytest.raises(LsnsError, match="has one percentage"):
        draw("dose", replace(results, study=replace(results.study, summary=one)))


def test_reliability(results):
    rows = results.section("reliability")["rows"]
    ax = figures.plot_reliability(rows)
    for split, name in (("halves", "halves (n = 20)"), ("folds", "folds (n = 10)")):
        of_split = [row for row in rows if row["split"] == split]
        line, _, (bars,) = labelled(ax, name).lines
        assert np.allclose(line.get_ydata(), [row["dice"] for row in of_split])
        assert np.allclose(line.get_xdata(), [row["percentage"] for row in of_split], rtol=0.05)
        ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
        assert np.allclose(ends, [[row["dice_low"], row["dice_high"]] for row in of_split])
    shuffled = labelled(ax, "halves, shuffled").get_ydata()
    assert np.allclose(shuffled, [r["dice_shuffled"] for r in rows if r["split"] == "halves"])
    assert np.allclose(labelled(ax, "chance").get_ydata(), [0.005, 0.01, 0.02, 0.05])
    assert labelled(ax, "this mask").get_xdata()[0] == 2
    # Folds were not shuffled: nothing is drawn for that.
    assert not [h for h in ax.get_legend_handles_labels()[1] if h.startswith("folds, shuffled")]
    assert ax.get_ylim() == (0, 1)


def test_reliability_of_a_number_of_units(results, results_folder):
    rows = [
        row | ({"percentage": None, "units": 288} if row["percentage"] == 2 else {})
        for row in results.section("reliability")["rows"]
    ]
    found = replace(results, audit={"reliability": {"rows": rows}})
    (ax,) = draw("reliability", found).axes
    assert labelled(ax, "this mask").get_xdata()[0] == pytest.approx(25)
    assert len(labelled(ax, "halves (").lines[0].get_xdata()) == 4


def test_profile(results):
    rows = results.section("selectivity")["profile"]
    ax = figures.plot_profile(rows)
    means = [c.lines[0].get_xdata()[0] for c in ax.containers]
    assert np.allclose(means, [0.52, -0.5, 0.2])
    ends = [c.lines[2][0].get_segments()[0][:, 0].tolist() for c in ax.containers]
    assert np.allclose(ends, [[row["low"], row["high"]] for row in rows])
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [
        "positive\n(40 items)",
        "negative\n(40 items)",
        "unconnected words\n(24 items)",
    ]


def test_protocols(results, made):
    rows = results.section("overlaps")
    ax = figures.plot_protocols(rows)
    assert offsets(labelled(ax, "shared"))[:, 0].tolist() == [6, 14]
    assert np.allclose(offsets(ax.collections[0])[:, 0], 0.46)
    assert offsets(labelled(ax, "chance within"))[:, 0].tolist() == [0.9, 1.1]
    assert ax.get_xlabel() == f"Shared units (of {made.mask.count})"
    bare = [{k: v for k, v in row.items() if k != "expected_by_layer"} for row in rows]
    assert len(dots(figures.plot_protocols(bare))) == 2
    with pytest.raises(LsnsError, match="no rows to draw"):
        figures.plot_protocols([])


# How it is drawn.


@pytest.fixture
def drawn(request, results, models):
    kind = request.param
    return draw(kind, *models) if kind == "heatmap" else draw(kind, results)


every_kind = pytest.mark.parametrize("drawn", list(KINDS), indirect=True)


@every_kind
def test_axes_are_labelled_and_text_is_legible(drawn):
    drawn.draw_without_rendering()
    texts = [t for t in drawn.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 7
    # An exponent would be smaller than its text.
    assert not [t.get_text() for t in texts if "$" in t.get_text()]
    for ax in drawn.axes:
        assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title("right")


@every_kind
def test_nothing_is_cut_off_or_covered(drawn):
    assert drawn.get_size_inches()[0] == pytest.approx(85 * MM)
    drawn.draw_without_rendering()
    width, height = drawn.get_size_inches()
    inside = drawn.get_tightbbox()
    assert inside.x0 >= -0.01
    assert inside.y0 >= -0.01
    assert inside.x1 <= width + 0.01
    assert inside.y1 <= height + 0.01
    boxes = [ax.get_window_extent() for ax in drawn.axes]
    for ax, box in zip(drawn.axes, boxes, strict=True):
        # Enough is left for the data.
        assert box.width / drawn.dpi > 0.35 * width or ax.get_label() == "<colorbar>"
        if ax.get_legend():
            legend = ax.get_legend().get_window_extent()
            assert not any(legend.overlaps(other) for other in boxes)


# Every kind in one format, every format for four kinds.
@pytest.mark.parametrize(
    ("kind", "ending"), list(zip(KINDS, cycle(("png", "svg", "pdf")), strict=False))
)
def test_the_same_bytes_twice_and_no_trace_in_the_settings(kind, ending, results, tmp_path):
    before = dict(mpl.rcParams)
    first, second = (
        save_figure(draw(kind, results), tmp_path / f"{number}.{ending}").read_bytes()
        for number in (1, 2)
    )
    assert first == second
    assert len(first) > 2000
    assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate|Matplotlib v", first)
    assert dict(mpl.rcParams) == before


def test_settings_of_the_user_change_nothing(results, tmp_path):
    plain = save_figure(draw("dose", results), tmp_path / "1.svg").read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "text.usetex": True}):
        found = save_figure(draw("dose", results), tmp_path / "2.svg").read_bytes()
    assert found == plain


def test_files_are_fit_for_a_paper(results, tmp_path):
    figure = draw("layers", results)
    png = save_figure(figure, tmp_path / "f.png").read_bytes()
    assert int.from_bytes(png[16:20]) == int(85 * MM * 300)
    pdf = save_figure(figure, tmp_path / "f.pdf").read_bytes()
    # Fonts as TrueType (42), not as shapes of single characters (3).
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    svg = save_figure(figure.axes[0], tmp_path / "f.SVG").read_text()
    assert svg.lstrip().startswith("<?xml")


def test_where_a_figure_cannot_be_written(results, tmp_path):
    figure = draw("layers", results)
    with pytest.raises(LsnsError, match=r"ends in \.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / "f.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(LsnsError, match="could not be written"):
        save_figure(figure, tmp_path / "file" / "f.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results"]


def test_axes_of_ones_own(made, results):
    figure = Figure(figsize=(7, 3))
    left, right = figure.subplots(1, 2)
    assert figures.plot_layers(made.mask.units, left) is left
    assert figures.plot_reliability(results.section("reliability")["rows"], right) is right
    assert figure.get_size_inches().tolist() == [7, 3]
    assert len(left.patches) == len(made.mask.units)


def test_no_pyplot_and_no_backend(tmp_path, results_folder):
    code = f"""
import sys
import lsns.report.figures
assert "matplotlib" not in sys.modules
from lsns.report.figures import write_figure
write_figure("scores", [{str(results_folder)!r}], {str(tmp_path / "f.png")!r})
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Results to figures.


def test_panels_for_every_benchmark(results):
    for kind in ("effects", "dose"):
        titles = [ax.get_title("left") for ax in draw(kind, results).axes]
        if kind == "dose":
            legends = [ax.get_legend() for ax in draw(kind, results).axes]
            titles = [legend.get_title().get_text().split(";")[0] for legend in legends]
        assert titles == [
            "minimal-pairs, 60 items",
            "perplexity, 60 windows",
            "arithmetic, 60 items",
        ]


def test_names_tell_masks_apart(models, results, tmp_path):
    found = [item.localization for item in models]
    folders = [item.folder for item in models]
    assert name_masks(found, folders) == ["small", "middle", "deep"]
    pair = [results.localization, results.nmd]
    assert name_masks(pair, [results.folder] * 2) == ["T-test", "NMD"]
    assert name_masks(pair[:1], [results.folder]) == ["tiny"]
    # Nothing in the manifests differs: the folders do.
    assert name_masks(pair[:1] * 2, folders[:2]) == ["1 small", "2 middle"]


def test_networks_of_one_model_are_named_by_network(results):
    masks = [
        replace(results.localization.mask, manifest=make_manifest(network=name))
        for name in ("language", "multiple-demand")
    ]
    found = [replace(results, localization=replace(results.localization, mask=m)) for m in masks]
    (ax,) = draw("overlap", *(replace(item, nmd=None) for item in found)).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["language", "multiple-demand"]


@pytest.mark.parametrize(
    ("kind", "gone", "message"),
    [
        ("layers", "localization", "has no localization.npz"),
        ("methods", "nmd", "has no localization-nmd.npz"),
        ("dose", "study", "has no study of a lesion"),
        ("effects", "study", "has no study of a lesion"),
        ("reliability", "audit", "there is no audit.json"),
        ("profile", "audit", "there is no audit.json"),
        ("overlap", "nmd", "has 1; give several results folders"),
    ],
)
def test_what_is_missing_is_said(results, kind, gone, message):
    with pytest.raises(LsnsError, match=re.escape(message)):
        draw(kind, replace(results, **{gone: None}))


def test_why_a_section_is_missing_is_said(results):
    audit = {"selectivity": None, "missing": {"selectivity": "one fold only"}}
    with pytest.raises(LsnsError, match="for this figure: one fold only"):
        draw("profile", replace(results, audit=audit))


def test_lesions_of_has_the_controls_of_each(results):
    found = lesions_of(rows_of(results.summary, "minimal-pairs"))
    assert [item.row.target for item in found] == [
        "language@1", "language@2", "language@5", "language@2 outliers", "language@2 rest",
    ]  # fmt: skip
    for item in found:
        assert {row.target for rows in item.controls.values() for row in rows} == {item.row.target}
        assert len(item.controls["uniform"]) == len(SEEDS)


def test_ticks_of_a_logarithmic_axis():
    assert spaced([1.0]) == [1.0]
    assert spaced([5, 1, 2, 2]) == [1, 2, 5]
    assert spaced([1, 1.01, 10]) == [1, 10]
    assert np.allclose(one_two_five(0.4, 30), [0.5, 1, 2, 5, 10, 20])


# The command.


def plot(capsys, *arguments):
    code = run(["plot", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_command(capsys, results_folder, tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    assert plot(capsys, "layers", results_folder, "-o", path) == (0, f"wrote {path}\n", "")
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[ending])


def test_the_command_on_several(capsys, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, _ = plot(capsys, "heatmap", *(item.folder for item in models))
    assert code == 0
    assert (tmp_path / "heatmap.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layer", "results"), 'Did you mean "layers"?'),
        (("layers",), "one results folder, 0 were given"),
        (("layers", "results", "results"), "2 were given; several are for heatmap and overlap"),
        (("layers", "nowhere"), "nowhere is not there"),
        (("layers", "results", "-o", "f.gif"), "ends in .png, .svg or .pdf"),
        (("overlap", "results", "small"), "masks of different models: (12, 96) and (3, 96)"),
    ],
)
def test_errors_are_one_line(capsys, results_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_localization(tmp_path / "small", n_layers=3)
    code, out, error = plot(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1


def test_without_matplotlib(capsys, results_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, error = plot(capsys, "layers", results_folder)
    assert code == 2
    assert error == "lsns: figures need matplotlib; pip install 'lsns[report]'\n"


def test_the_commands_kinds_are_all_there_are():
    assert get_args(FigureKind) == tuple(KINDS)
    assert set(SEVERAL) <= set(KINDS)
    with pytest.raises(LsnsError, match="no figure 'pie'; use one of layers"):
        draw("pie")
