"""The page as a reader has it: in Chromium, from disk, without a network."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from lsns.report.figures_study import _longest_series, _of_mask, lesions_of
from lsns.report.page import SECTIONS, write_page
from lsns.report.results import Results, read_results
from lsns.report.visible import visible_text

from . import hostile
from .browser import NARROW, WIDE, Opened, launched, opened, read_axe
from .conftest import N_LAYERS, Synthetic, write_localization, write_results

CONTRAST = 4.5
FIGURES = [kind for _, _, kinds in SECTIONS for kind in kinds]
ZOOMED = ("scores", "outliers")
# All that is on the page and can be reached by Tab.
MOST_STEPS = 400


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: while playwright runs, no other test can run an event loop.
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "results"


@pytest.fixture(scope="module")
def run(folder: Path) -> Synthetic:
    return write_results(folder)


@pytest.fixture(scope="module")
def found(folder: Path, run: Synthetic) -> Results:
    return read_results(folder)


@pytest.fixture(scope="module")
def path(folder: Path, run: Synthetic) -> Path:
    return write_page(folder)


@pytest.fixture(scope="module")
def _shared(browser: Browser, path: Path) -> Iterator[Opened]:
    with opened(browser, path) as page:
        yield page


@pytest.fixture
def page(_shared: Opened) -> Iterator[Opened]:
    """The page of complete results, 1280 pixels wide; it has nothing to complain of afterwards."""
    yield _shared
    assert _shared.problems == []


@pytest.fixture(scope="module")
def narrow(browser: Browser, path: Path) -> Iterator[Opened]:
    """The same on a phone."""
    with opened(browser, path, width=NARROW) as page:
        page.ask("open")
        yield page


def test_nothing_is_loaded_and_nothing_complains(page: Opened, path: Path):
    assert page.problems == []
    assert page.page.evaluate("performance.getEntriesByType('resource').map(one => one.name)") == []
    assert path.stat().st_size < 2.5e6


def test_a_request_is_noticed(browser: Browser, tmp_path: Path):
    text = (
        "<html data-drawn='true'><img src='https://example.org/a.png'>"
        "<script>console.warn('w'); console.error('e'); alert('d'); throw Error('x')</script>"
    )
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    with opened(browser, tmp_path / "page.html") as page:
        kinds = {problem.split(":")[0] for problem in page.problems}
    assert kinds == {"request", "console warning", "console error", "dialog", "exception"}


# What is drawn


def test_every_figure_is_there(page: Opened):
    drawn = page.page.evaluate("[...document.querySelectorAll('figure')].map(one => one.id)")
    assert drawn == [f"figure-{kind}" for kind in FIGURES]
    for kind in FIGURES:
        area = page.page.locator(f"#plot-{kind}")
        assert area.get_attribute("role") == "img"
        assert len(area.get_attribute("aria-label") or "") > 40
        assert page.page.locator(f"#figure-{kind} figcaption").inner_text().strip()


def test_a_bar_is_as_high_as_the_share_of_its_layer(page: Opened, run: Synthetic):
    bars = page.ask("bars", "layers")
    assert [round(bar["x"], 2) for bar in bars] == list(range(N_LAYERS))
    shares = 100 * run.mask.units.mean(axis=1)
    np.testing.assert_allclose([bar["height"] for bar in bars], shares, atol=0.02)


def test_bars_of_both_methods(page: Opened, run: Synthetic):
    bars = page.ask("bars", "methods")
    for name, mask in (("T-test", run.mask), ("NMD", run.nmd)):
        heights = [bar["height"] for bar in bars if bar["of"].startswith(name)]
        np.testing.assert_allclose(heights, mask.units.sum(axis=1), atol=0.02)


def test_selected_units_are_marked_on_the_score_map(page: Opened, run: Synthetic):
    assert _places(page.ask("points", "scores")) == _units(run.mask.units)


def test_the_score_map_is_coloured_by_score(page: Opened, run: Synthetic):
    scores = run.metadata["scores"]
    cells = {
        (round((cell["left"] + cell["right"]) / 2), round(sum(cell["ends"]) / 2)): cell["colour"]
        for cell in page.ask("cells", "scores")
    }
    assert len(cells) == scores.size
    colours = [cells[column, row] for row in range(N_LAYERS) for column in range(scores.shape[1])]
    # Cold to warm in the order of the scores, up to where the colours end.
    warmth = np.array([red - blue for red, _, blue in colours])
    top = np.percentile(np.abs(scores), 99)
    order = np.argsort(np.clip(scores, -top, top).ravel(), kind="stable")
    assert warmth[order[0]] < -60
    assert warmth[order[-1]] > 60
    assert abs(warmth[np.abs(scores).argmin()]) < 25
    assert np.corrcoef(warmth, np.clip(scores, -top, top).ravel())[0, 1] > 0.95


def test_every_unit_of_the_outlier_audit(page: Opened, run: Synthetic):
    points = page.ask("points", "outliers")
    assert len(points) == run.mask.units.size
    assert all(point["shown"] for point in points)
    units, outliers = run.mask.units, run.metadata["outliers"]
    groups = {
        "other units": ~units & ~outliers,
        "selected": units & ~outliers,
        "outlier, not selected": ~units & outliers,
        "selected outlier": units & outliers,
    }
    for name, group in groups.items():
        words = f"{name} ({int(group.sum())})"
        heights = sorted(point["y"] for point in points if point["of"] == words)
        t_values = np.sort(run.metadata["t_values"][group])
        np.testing.assert_allclose(heights, t_values, atol=0.03)


def test_every_control_is_a_dot(page: Opened, found: Results):
    assert found.localization is not None
    lesions = _of_mask(lesions_of(found), found.localization.mask.digest)
    points = page.ask("points", "effects")
    assert all(point["shown"] for point in points)
    for panel, benchmark in enumerate(dict.fromkeys(item.row.benchmark for item in lesions)):
        own = [item for item in lesions if item.row.benchmark == benchmark]
        changes = [item.change(item.row)[0] for item in own]
        changes += [
            change for item in own for kind in item.controls for change in item.changes(kind)
        ]
        drawn = [point["x"] for point in points if point["panel"] == panel]
        np.testing.assert_allclose(sorted(drawn), sorted(changes), rtol=1e-4, atol=1e-6)


def test_a_dose_is_a_point_of_each_line(page: Opened, found: Results):
    lesions = _longest_series(lesions_of(found))
    points = page.ask("points", "dose")
    assert len(points) == sum(1 + len(item.controls) for item in lesions)
    percentages = {item.row.percentage for item in lesions}
    assert {round(point["x"], 2) for point in points} == percentages


def test_points_of_the_audit(page: Opened, found: Results):
    rows = found.audit.reliability.rows
    points = page.ask("points", "reliability")
    wanted = [row.dice for row in rows]
    wanted += [row.dice_shuffled for row in rows if row.dice_shuffled is not None]
    np.testing.assert_allclose(sorted(point["y"] for point in points), sorted(wanted), atol=0.003)
    profile = found.audit.selectivity.profile
    places = [point["x"] for point in page.ask("points", "profile")]
    np.testing.assert_allclose(places, [row.mean for row in profile], atol=0.005)
    places = sorted(point["x"] for point in page.ask("points", "protocols"))
    keys = ("shared", "expected", "expected_by_layer")
    shared = sorted(getattr(row, key) for row in found.audit.overlaps for key in keys)
    np.testing.assert_allclose(places, shared, atol=0.05)


def test_recurring_dimensions_and_overlap(page: Opened, run: Synthetic):
    units, outliers = run.mask.units, run.metadata["outliers"]
    points = page.ask("points", "recurrence")
    dimensions = [int(name) for name in page.ask("labels", "recurrence", "left")]
    for state, group in (("selected", units), ("outlier", outliers)):
        places = {(point["x"], point["y"]) for point in points if point["of"] == state}
        assert places == {(layer, d) for layer, d in _units(group, "layer") if d in dimensions}
    cells = page.ask("cells", "overlap")
    assert len(cells) == 3
    dice = 2 * (units & run.nmd.units).sum() / (units.sum() + run.nmd.units.sum())
    assert f"{dice:.2f}" in page.page.locator("#plot-overlap").inner_text()


def _places(points: list[dict[str, float]]) -> set[tuple[int, int]]:
    return {(round(point["x"]), round(point["y"])) for point in points}


def _units(mask: Any, first: str = "unit") -> set[tuple[int, int]]:
    pairs = zip(*(places.tolist() for places in np.nonzero(mask)), strict=True)
    return {(unit, layer) if first == "unit" else (layer, unit) for layer, unit in pairs}


# What hovering shows


def test_hovering_names_the_unit(page: Opened, run: Synthetic):
    t_values, p_values = run.metadata["t_values"], run.metadata["adjusted_p_values"]
    for unit, layer in sorted(_units(run.mask.units))[::6]:
        text = _hover(page, "scores", unit, layer)
        assert f"layer {layer}\nunit {unit}\n" in text
        assert f"t {t_values[layer, unit]:.3f}\n" in text
        shown = float(re.findall(r"adjusted p (.+)\n", text)[0])
        assert shown == pytest.approx(p_values[layer, unit], rel=0.06)
        assert "selected" in text


def test_hovering_over_a_unit_that_is_not_selected(page: Opened, run: Synthetic):
    unit, layer = 50, 2
    assert not run.mask.units[layer, unit]
    text = _hover(page, "scores", unit, layer)
    assert f"layer {layer}\nunit {unit}\n" in text
    assert f"t {run.metadata['t_values'][layer, unit]:.3f}".replace("-", "−") in text
    assert "selected" not in text


def test_hovering_over_other_figures(page: Opened, run: Synthetic, found: Results):
    top = int(run.mask.units.sum(axis=1).argmax())
    count = int(run.mask.units[top].sum())
    share = 100 * run.mask.units[top].mean()
    text = _hover(page, "layers", top, share / 2)
    assert text == f"layer {top}\nunits {count}\n% of layer {share:.2f}"

    lesion = next(item for item in lesions_of(found) if item.row.target == "language@2")
    change = lesion.change(lesion.row)[0]
    text = _hover(page, "effects", change, 0)
    assert f"units {lesion.row.units}\n" in text
    assert f"change, 95% {change:+.3g} points" in text
    assert "least selective" in _hover(page, "effects", lesion.changes("least")[0], 4)


def test_hovering_over_an_outlier(page: Opened, run: Synthetic):
    outliers = run.mask.units & run.metadata["outliers"]
    point = next(
        p for p in page.ask("points", "outliers") if p["of"].startswith("selected outlier")
    )
    text = _hover(page, "outliers", point["x"], point["y"])
    layer, unit = map(int, re.findall(r"layer (\d+)\nunit (\d+)", text)[0])
    assert outliers[layer, unit]
    assert f"t {run.metadata['t_values'][layer, unit]:.3f}" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_hover_label_can_be_read(page: Opened, scheme: str):
    page.scheme(scheme)
    _hover(page, "layers", 10, 1)
    label = page.ask("hover")
    page.scheme("light")
    assert contrast(label["ink"], label["ground"]) >= CONTRAST


def _hover(page: Opened, kind: str, x: float, y: float) -> str:
    """What is said of a place in a plot."""
    mouse = page.page.mouse
    mouse.move(2, 2)
    page.ask("labelled", False)
    mouse.move(*page.ask("at", kind, x, y))
    page.ask("labelled", True)
    return page.ask("hover")["text"]


# Tables


def test_tables_sort_by_every_column(page: Opened):
    page.ask("open")
    count = page.page.locator("table.sortable").count()
    assert count > 12
    for place in range(count):
        for column, ways in enumerate(page.ask("sorted", place)):
            for table, way in zip(ways, ("ascending", "descending"), strict=True):
                _check_sorted(table, column, way)


def _check_sorted(table: dict[str, Any], column: int, way: str) -> None:
    marks = [mark for _, mark in table["heads"]]
    assert marks == [way if place == column else None for place in range(len(marks))]
    cells = [row[column] for row in table["rows"]]
    keys = [float(value) for _, value in cells if value is not None]
    if not keys:
        _check_words([text for text, _ in cells], way)
        return
    # What has no number is last, either way.
    assert [value is None for _, value in cells] == sorted(value is None for _, value in cells)
    assert keys == sorted(keys, reverse=way == "descending")
    for text, value in cells:
        first = re.match(r"(?:g )?[<]?([-+]?[\d.]+(?:e[-+]?\d+)?)", text)
        if value is not None and first:
            assert float(first[1]) == pytest.approx(float(value), rel=0.06, abs=0.051)


def _check_words(texts: list[str], way: str) -> None:
    letters = [re.sub(r"[^a-z0-9]", "", text.lower()) for text in texts]
    ordered = letters if way == "ascending" else letters[::-1]
    # Where the letters are the same, signs decide, which is the browser's matter.
    assert all(a <= b or a[:4] == b[:4] for a, b in pairwise(ordered))


def test_a_table_sorts_by_mouse_and_by_keyboard(page: Opened):
    page.ask("open")
    head = page.page.locator("#figure-scores thead th")
    place = page.page.evaluate(
        "[...document.querySelectorAll('table.sortable')]"
        ".indexOf(document.querySelector('#figure-scores table'))"
    )
    head.nth(3).locator("button").click()
    _check_sorted(page.ask("table", place), 3, "ascending")
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.textContent") == "adjusted p"
    for key, way in (("Enter", "ascending"), ("Space", "descending")):
        page.page.keyboard.press(key)
        _check_sorted(page.ask("table", place), 4, way)
    rows = page.ask("table", place)["rows"]
    assert len({tuple(cell[0] for cell in row[:2]) for row in rows}) == len(rows)


def _edge(page: Opened, table: Any, place: str) -> float:
    """How bright the pixels along the right edge of a table are, below its head."""
    table.evaluate(f"one => one.scrollTo({{left: {place}, top: 0, behavior: 'instant'}})")
    with Image.open(io.BytesIO(table.screenshot())) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=float)
    return float(np.median(pixels[len(pixels) // 2 : -40, -3]))


def test_a_table_that_is_cut_off_shows_it(narrow: Opened, page: Opened):
    for one, clipped in ((narrow, True), (page, False)):
        one.ask("open")
        table = one.page.locator("#lesions .scroll").first
        # Nothing of the shade is left where the table ends, nor where all of it is seen.
        assert (_edge(one, table, "0") < 200) == clipped
        assert _edge(one, table, "one.scrollWidth") > 240
        assert table.get_attribute("tabindex") == "0"
    table = narrow.page.locator("#lesions .scroll").first
    table.evaluate("one => one.scrollTo({left: 0, behavior: 'instant'})")
    table.focus()
    narrow.page.keyboard.press("ArrowRight")
    narrow.page.wait_for_timeout(300)
    assert table.evaluate("one => one.scrollLeft") > 0


# Dark and light


def test_themes_by_the_system_and_by_the_button(page: Opened):
    light = page.ask("colours")
    page.scheme("dark")
    dark = page.ask("colours")
    assert page.page.locator("#theme").inner_text() == "Light theme"
    page.page.locator("#theme").click()
    page.settle()
    assert page.ask("colours") == light
    # A choice outlasts a change of the system's.
    page.scheme("light")
    assert page.ask("colours") == light
    page.page.locator("#theme").click()
    page.settle()
    assert page.ask("colours") == dark
    # The tests that follow have the system's again.
    page.page.evaluate("document.documentElement.dataset.theme = 'auto'")
    page.scheme("dark")
    page.scheme("light")
    for colours in (light, dark):
        _check_colours(colours)
    assert brightness(light["page"]) > 0.8
    assert brightness(dark["page"]) < 0.03
    for before, after in zip(light["plots"], dark["plots"], strict=True):
        assert before["ground"] != after["ground"]
        assert before["texts"] != after["texts"]


def _check_colours(colours: dict[str, Any]) -> None:
    assert contrast(colours["page"], colours["ink"]) >= CONTRAST
    assert len(colours["plots"]) == len(FIGURES)
    for plot in colours["plots"]:
        assert plot["ground"] == colours["page"], plot["plot"]
        assert len(plot["texts"]) > 3
        for text in plot["texts"]:
            assert contrast(text, plot["ground"]) >= CONTRAST, plot["plot"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_stand_out_from_the_ground(page: Opened, scheme: str):
    page.scheme(scheme)
    ground = page.ask("colours")["page"]
    assert (brightness(ground) < 0.5) == (scheme == "dark")
    weak = {
        (kind, point["of"], colour)
        for kind in ("reliability", "profile", "protocols", "recurrence", "effects", "dose")
        for point in page.ask("points", kind)
        if (colour := _drawn_in(point)) and contrast(colour, ground) < 1.9
    }
    page.scheme("light")
    assert weak == set()


def _drawn_in(point: dict[str, str]) -> str:
    hollow = point["fill"] in ("none", "rgba(0, 0, 0, 0)")
    return point["stroke"] if hollow else point["fill"]


def contrast(first: str, second: str) -> float:
    """The ratio of two colours as WCAG 2 has it, from 1 to 21."""
    low, high = sorted((brightness(first), brightness(second)))
    return (high + 0.05) / (low + 0.05)


def brightness(colour: str) -> float:
    """Relative luminance of `rgb(...)`; transparent ones are an error."""
    values = [float(part) for part in re.findall(r"[\d.]+", colour)]
    assert len(values) == 3 or values[3] > 0, colour
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in values[:3])
    ]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# Width


def test_nothing_overflows(page: Opened, narrow: Opened):
    page.ask("open")
    for one in (page, narrow):
        assert one.ask("overflowing") == []
        assert one.ask("cut") == []
        assert one.ask("colliding") == []


def test_plots_follow_the_width(page: Opened, run: Synthetic):
    before = page.ask("points", "scores")
    for width in (NARROW, 700, WIDE):
        page.resize(width)
        for kind in FIGURES:
            widths = page.page.evaluate(
                "kind => { const plot = document.getElementById(`plot-${kind}`); return ["
                "plot.querySelector('svg').getBoundingClientRect().width,"
                "plot.getBoundingClientRect().width, document.documentElement.clientWidth]; }",
                kind,
            )
            assert widths[0] == pytest.approx(widths[1], abs=1)
            assert widths[1] < widths[2]
        assert page.ask("overflowing") == []
        assert page.ask("cut") == []
        assert _places(page.ask("points", "scores")) == _units(run.mask.units)
    assert page.ask("points", "scores") == before


def test_on_paper(page: Opened):
    before = page.ask("colours")
    page.scheme("dark")
    assert page.ask("colours") != before
    page.page.emulate_media(media="print", color_scheme="dark")
    page.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    # All is drawn when the event has been told.
    widths = page.page.evaluate(
        "[...document.querySelectorAll('.plot svg')].map(one => one.getBoundingClientRect().width)"
    )
    assert max(widths) <= 680
    grounds = {plot["ground"] for plot in page.ask("colours")["plots"]}
    assert grounds == {before["page"]}
    page.page.emulate_media(media="screen", color_scheme="dark")
    page.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.scheme("light")
    assert page.ask("colours") == before


@pytest.mark.parametrize("kind", ZOOMED)
def test_zoom_and_back(page: Opened, kind: str):
    whole = page.ask("labels", kind, "left")
    mouse, keyboard = page.page.mouse, page.page.keyboard
    mouse.move(*page.ask("at", kind, 20, 5))
    # A wheel alone scrolls the page.
    mouse.wheel(0, 5)
    page.settle()
    assert page.ask("labels", kind, "left") == whole
    mouse.move(*page.ask("at", kind, 20, 5))
    keyboard.down("Alt")
    mouse.wheel(0, -600)
    keyboard.up("Alt")
    page.settle()
    assert page.ask("labels", kind, "left") != whole
    page.page.locator(f"button[data-reset={kind}]").click()
    page.settle()
    assert page.ask("labels", kind, "left") == whole
    assert page.page.locator("button[data-reset]").count() == len(ZOOMED)


def test_a_plot_is_saved_as_a_picture(page: Opened):
    with page.page.expect_download() as waiting:
        page.page.locator("button[data-save=layers]").click()
    download = waiting.value
    assert download.suggested_filename == "lsns-layers.png"
    assert Path(download.path()).read_bytes()[:4] == b"\x89PNG"


# Keyboard and screen readers


def test_keyboard(page: Opened):
    page.ask("open")
    page.page.locator("nav a").first.focus()
    page.page.keyboard.press("Shift+Tab")
    assert page.ask("focus")["name"].endswith("a.skip")
    assert page.ask("focus")["seen"]
    places: list[int] = []
    for _ in range(MOST_STEPS):
        focus = page.ask("focus")
        if focus["place"] < 0 or focus["place"] in places:
            break
        assert focus["outlined"], focus
        assert focus["seen"], focus
        assert not focus["covered"], focus
        places.append(focus["place"])
        page.page.keyboard.press("Tab")
    assert places == list(range(page.page.evaluate("ask.focusable().length")))


def test_the_skip_link_skips(page: Opened):
    page.page.locator("nav a").first.focus()
    page.page.keyboard.press("Shift+Tab")
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "main"


def test_headings_go_down_by_one(page: Opened):
    levels = page.page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.localName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_accessibility(page: Opened, narrow: Opened, width: str, scheme: str):
    one = page if width == "wide" else narrow
    one.scheme(scheme)
    one.ask("open")
    assert (brightness(one.ask("colours")["page"]) < 0.5) == (scheme == "dark")
    found = violations(one)
    one.scheme("light")
    assert found == []


def violations(page: Opened) -> list[str]:
    """What axe-core finds by all its rules, best practices included; none is off."""
    if page.page.evaluate("typeof axe") == "undefined":
        page.page.evaluate(read_axe())
    found = page.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 30
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def test_axe_finds_what_is_wrong(browser: Browser, tmp_path: Path):
    text = "<html data-drawn='true'><img src='data:,'><p style='color:#ccc'>Pale</p>"
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    with opened(browser, tmp_path / "page.html") as page:
        page.page.evaluate(read_axe())
        found = page.page.evaluate("axe.run(document)")
    wrong = {rule["id"] for rule in found["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang", "region"} <= wrong


# Hostile text


@pytest.fixture(scope="module", params=["nasty", "unbroken"])
def attacked(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Opened, Opened, hostile.Written]]:
    """The page of hostile text, that of harmless text of the same length, and what was written."""
    folder = tmp_path_factory.mktemp(request.param)
    text, other = {
        "nasty": (hostile.nasty, hostile.calm),
        "unbroken": (hostile.unbroken, hostile.wordy),
    }[request.param]
    written = hostile.write_texts(folder / "hostile", text)
    hostile.write_texts(folder / "harmless", other)
    paths = [write_page(folder / name) for name in ("hostile", "harmless")]
    with opened(browser, paths[0]) as page, opened(browser, paths[1]) as calm:
        for one in (page, calm):
            one.ask("open")
        yield page, calm, written


def test_hostile_text_does_nothing(attacked: tuple[Opened, Opened, hostile.Written]):
    page, calm, _ = attacked
    assert page.page.evaluate("window.hacked") is None
    found, harmless = page.ask("elements"), calm.ask("elements")
    # Around words from right to left, which only one of the two has.
    assert found.pop("bdi") >= harmless.pop("bdi")
    assert found == harmless
    assert set(page.page.evaluate("Object.keys(window)")) == set(
        calm.page.evaluate("Object.keys(window)")
    )
    for kind in FIGURES:
        for question in ("points", "bars"):
            assert len(page.ask(question, kind)) == len(calm.ask(question, kind))
    assert page.ask("turned") == page.ask("hidden") == []
    assert page.problems == calm.problems == []


def test_hostile_text_is_there_to_read(attacked: tuple[Opened, Opened, hostile.Written]):
    page, _, written = attacked
    prompts = written.continuations["prompts"]
    texts = [one["text"] for item in prompts for one in item["conditions"]]
    assert page.ask("texts", "blockquote .passage") == [visible_text(p["prompt"]) for p in prompts]
    assert page.ask("texts", "#continuations .text .passage") == [visible_text(t) for t in texts]
    kept = written.manifest["stimuli"]["examples"].values()
    examples = [visible_text(text) for texts in kept for text in texts]
    assert page.ask("texts", "#stimuli .passage") == examples
    sentences = {visible_text(row["sentence"]) for row in written.audit["findings"]}
    assert set(page.ask("texts", ".sentence")) == sentences
    assert page.ask("texts", ".conclusion .passage") == [visible_text(written.audit["conclusion"])]
    first = page.ask("texts", "#manifest pre")[0]
    assert json.loads(first) == written.manifest
    assert page.ask("texts", "#reproduce pre")[-1] == visible_text(written.config)
    name, version = next(iter(written.versions.items()))
    cells = page.ask("texts", "#reproduce tbody tr:first-child > *")
    assert cells == [visible_text(name), visible_text(version)]


def test_hostile_text_beside_axes(attacked: tuple[Opened, Opened, hostile.Written]):
    page, _, written = attacked
    names = [row["condition"] for row in written.audit["selectivity"]["profile"]]
    shown = page.ask("labels", "profile", "left")
    for name, text in zip(names, shown, strict=True):
        assert _dense(text).startswith(_dense(visible_text(name))[:30])
    [name, *_] = dict.fromkeys(row["benchmark"] for row in written.study["summary"])
    [title, *_] = page.ask("texts", "#plot-dose .role-title-text text")
    assert _dense(title).startswith(_dense(visible_text(name))[:25])


def _dense(text: str) -> str:
    # Lines are broken anywhere.
    return "".join(text.split())


def test_hostile_text_fits(attacked: tuple[Opened, Opened, hostile.Written]):
    page = attacked[0]
    for width in (NARROW, WIDE):
        page.resize(width)
        assert page.ask("overflowing") == []
        assert page.ask("cut") == []
        assert page.ask("colliding") == []


def test_hostile_text_in_a_hover_label(attacked: tuple[Opened, Opened, hostile.Written]):
    page, _, written = attacked
    row = next(
        row
        for row in written.study["summary"]
        if row["condition"] == "lesion" and row["target"].endswith("@2")
    )
    text = _hover(page, "effects", 100 * row["difference"], 0)
    assert _dense(text).startswith(_dense("lesion " + visible_text(row["target"])[:30]))
    edge = page.page.evaluate("document.documentElement.clientWidth")
    box = page.page.locator("#tip").bounding_box()
    assert box is not None
    assert box["x"] >= -1
    assert box["x"] + box["width"] <= edge + 1


def test_hostile_text_is_accessible(attacked: tuple[Opened, Opened, hostile.Written]):
    assert violations(attacked[0]) == []


# Results with parts missing


@pytest.mark.parametrize("part", ["localization", "study"])
def test_parts_alone(browser: Browser, tmp_path: Path, run: Synthetic, folder: Path, part: str):
    alone = tmp_path / "results"
    if part == "localization":
        write_localization(alone)
        (alone / "localization-nmd.npz").unlink()
        kinds = {"layers", "scores", "outliers", "recurrence"}
    else:
        alone.mkdir()
        study = (folder / "study" / "study.json").read_text(encoding="utf-8")
        (alone / "study.json").write_text(study, encoding="utf-8")
        kinds = {"effects", "dose"}
    with opened(browser, write_page(alone)) as page:
        drawn = page.page.evaluate("[...document.querySelectorAll('figure')].map(one => one.id)")
        assert {name.removeprefix("figure-") for name in drawn} == kinds
        for kind in kinds:
            assert page.ask("points", kind) or page.ask("bars", kind)
        assert page.page.locator(".absent[id]").count() == len(FIGURES) - len(kinds)
        page.ask("open")
        assert violations(page) == []
        page.resize(NARROW)
        assert page.ask("overflowing") == []
        assert page.problems == []


def test_without_javascript_pictures_words_and_tables_are_there(browser: Browser, path: Path):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "need JavaScript, which is off" in page.locator("noscript p").inner_text()
    assert "23 of 1152 units" in page.locator(".lead").inner_text()
    pictures = page.locator(".plot img")
    assert pictures.count() == len(FIGURES)
    for picture in pictures.all():
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 80
    with Image.open(io.BytesIO(page.locator("#plot-layers").screenshot())) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(100_000) or ()}
    assert (0, 114, 178) in colours
    page.locator("#figure-layers summary").click()
    assert page.locator("#figure-layers tbody tr").count() == N_LAYERS
    context.close()
