"""What the tests of the audit share: the published protocol on the bundled model, run once."""

from __future__ import annotations

import pytest

import lsns


@pytest.fixture(scope="session")
def published(_bundled, langloc, tmp_path_factory) -> lsns.Localization:
    cache = tmp_path_factory.mktemp("published")
    return lsns.localize(_bundled, langloc, percentage=1, cache_dir=cache)
