"""What the tests of the audit share: the published protocol on the bundled model, run once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lsns


@pytest.fixture(scope="session")
def published(_bundled, langloc, tmp_path_factory) -> lsns.Localization:
    cache = tmp_path_factory.mktemp("published")
    return lsns.localize(_bundled, langloc, percentage=1, cache_dir=cache)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For many runs of a tiny model: a second thread costs more than its matrices."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
