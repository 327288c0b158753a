"""Chromium and axe-core, as `make browser` installs them, for tests of pages on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
AXE = ROOT / ".venv" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
QUESTIONS = Path(__file__).with_name("browser.js")
AXE_SUM = ROOT / "scripts" / "axe-core.sha256"
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing of Chromium's own that asks the network, and no graphics driver.
FLAGS = ("--disable-gpu", "--disable-quic", "--disable-component-update", "--disable-sync")
LOCAL = ("file:", "data:", "blob:")
WIDE, NARROW = 1280, 390
HEIGHTS = {NARROW: 844}


@dataclass
class Opened:
    """A page in a tab of its own, and what it did that it must not.

    Attributes:
        page: to be driven.
        problems: console errors and warnings, exceptions, dialogs, requests that left the disk.
    """

    page: Page
    problems: list[str] = field(default_factory=list[str])

    def ask(self, question: str, *values: Any) -> Any:
        """The answer to a question of browser.js."""
        return self.page.evaluate(
            "([question, values]) => window.ask[question](...values)", [question, list(values)]
        )

    def resize(self, width: int) -> None:
        """Change the width, and wait until the page has answered."""
        self.page.set_viewport_size({"width": width, "height": HEIGHTS.get(width, 900)})
        self.settle()

    def scheme(self, name: Any) -> None:
        """Change the colour scheme that the machine prefers, to `light` or `dark`."""
        self.page.emulate_media(color_scheme=name)
        self.settle()

    def settle(self) -> None:
        """Wait until a change is drawn."""
        self.page.wait_for_timeout(100)
        self.ask("settled")


def find_chromium() -> str | None:
    """The path in LSNS_CHROMIUM, else of a Chromium that is installed."""
    named = os.environ.get("LSNS_CHROMIUM")
    found = (shutil.which(name) for name in ([named] if named else NAMES))
    return next(filter(None, found), None)


def read_axe() -> str:
    """The script of axe-core; it must be the very file that is pinned."""
    if not AXE.is_file():
        give_up("no axe-core: make browser")
    content = AXE.read_bytes()
    if hashlib.sha256(content).hexdigest() != AXE_SUM.read_text(encoding="utf-8").split()[0]:
        pytest.fail(f"{AXE.name} is not the file that {AXE_SUM.name} names; make browser")
    return content.decode()


def give_up(reason: str) -> NoReturn:
    """Skip with that reason; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium without a screen; its profile is new and goes with it."""
    path = find_chromium()
    if path is None:
        give_up("no Chromium: apt-get install chromium, or set LSNS_CHROMIUM")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = WIDE, scheme: Any = "light", **options: Any
) -> Iterator[Opened]:
    """A page from disk, without a network, once all its figures are drawn."""
    size: Any = {"width": width, "height": HEIGHTS.get(width, 900)}
    context = browser.new_context(
        viewport=size,
        color_scheme=scheme,
        offline=True,
        device_scale_factor=2 if width == NARROW else 1,
        **options,
    )
    found = Opened(context.new_page())
    watch(found)
    found.page.goto(path.as_uri())
    found.page.evaluate(QUESTIONS.read_text(encoding="utf-8"))
    found.ask("settled")
    yield found
    context.close()


def watch(found: Opened) -> None:
    """Write down what the page does that it must not."""
    page, problems = found.page, found.problems

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"console {message.type}: {message.text}")

    def on_request(request: Any) -> None:
        if not request.url.startswith(LOCAL):
            problems.append(f"request: {request.url[:200]}")

    def on_dialog(dialog: Any) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("popup", lambda popup: problems.append(f"window: {popup.url}"))
    page.on("websocket", lambda socket: problems.append(f"socket: {socket.url}"))
