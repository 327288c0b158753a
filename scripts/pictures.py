"""Make the pictures of README.md and of the documentation from a finished run.

python scripts/pictures.py RESULTS [docs/images]

Of figures as `lsns plot` draws them, and the head of the page in Chromium (`make browser`).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from lsns.report.figures import write_figure
from lsns.report.page import write_page

FIGURES = ("effects", "outliers")
# Of the page, without the bar above it.
WIDTH, BAR, HEIGHT = 1220, 44, 1786


def make_pictures(results: Path, folder: Path) -> None:
    """Write a PNG of each figure, and `report.png`, into a folder."""
    for kind in FIGURES:
        write_figure(kind, [results], folder / f"{kind}.png")
    with tempfile.TemporaryDirectory() as place:
        shoot(write_page(results, Path(place) / "report.html"), folder / "report.png")


def shoot(page: Path, path: Path) -> None:
    """Write the head of a page, as a reader has it."""
    chromium = os.environ.get("LSNS_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        tab = browser.new_page(viewport={"width": WIDTH, "height": BAR + HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.locator("html[data-drawn=true]").wait_for()
        tab.screenshot(path=path, clip={"x": 0, "y": BAR, "width": WIDTH, "height": HEIGHT})
        browser.close()


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"))
