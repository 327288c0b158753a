"""Public benchmarks beside the checkout, and the slow, obvious way to score a text."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def _shared_folder(name: str) -> Path:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"the public {name} files are not beside the checkout (../shared)")
    return folder


@pytest.fixture(scope="session")
def blimp() -> Path:
    """20 of BLiMP's paradigms."""
    return _shared_folder("blimp")


@pytest.fixture(scope="session")
def suites() -> Path:
    """10 of SyntaxGym's suites."""
    return _shared_folder("syntaxgym")
