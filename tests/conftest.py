"""What the tests share: a tiny model for speed, the bundled one for truth, and clean settings."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


def start_interruptible(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process that Ctrl-C stops, also where the tests run in the background.

    A job of a non-interactive shell has SIGINT ignored, and so have its children.
    """
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options,
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def _one_setting_of_threads() -> None:
    import torch

    # Workers side by side have a thread each; alone, a test may use two.
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOC_CACHE", raising=False)


@pytest.fixture(scope="session")
def langloc() -> Path:
    """The published language localizer."""
    folder = SHARED / "data" / "langloc"
    if not folder.is_dir():
        pytest.skip("the published langloc files are not beside the checkout (../shared)")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from tests.tiny import make_tokenizer

    return make_tokenizer()


@pytest.fixture
def tiny_model():
    """A fresh random llama: 3 blocks x 16 units."""
    from tests.tiny import make_model

    return make_model()


@pytest.fixture(scope="session")
def _bundled():
    import lsns

    return lsns.load_model("smollm2-135m", device="cpu")


@pytest.fixture
def bundled(_bundled) -> Iterator:
    """The bundled model; a test that leaves a hook on it fails."""
    yield _bundled
    left = [n for n, m in _bundled.model.named_modules() if m._forward_hooks]
    assert not left, f"hooks left on {left}"
    assert _bundled.active_lesions == []
