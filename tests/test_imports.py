"""Heavy libraries are imported where they are used, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "scipy.stats", "pandas", "altair", "vl_convert", "lm_eval")


def imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('found:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    label, *found = done.stdout.splitlines()[-1].split()
    assert label == "found:"
    return set(found)


@pytest.mark.parametrize(
    "code",
    [
        "import lsns",
        "import lsns.cli; lsns.cli.run(['--help'])",
        "import lsns.cli; lsns.cli.run(['localize', '--help'])",
        "import lsns; lsns.load_contrast('language')",
        "import lsns; lsns.localize, lsns.UnitMask, lsns.Moments, lsns.control_mask",
        "import lsns; lsns.BaseAnalyzer, lsns.ModelFactory, lsns.load_model",
    ],
)
def test_nothing_heavy(code):
    assert imported_by(code) == set()


def test_a_second_run_needs_no_torch(tmp_path, langloc):
    run = f"import lsns; lsns.localize('smollm2-135m', {str(langloc)!r}, percentage=1,"
    run += f" cache_dir={str(tmp_path)!r})"
    first = imported_by(run)
    assert {"torch", "transformers"} <= first
    assert imported_by(run.replace("percentage=1", "percentage=2, method='nmd'")) == set()


def test_public_names_are_all_there():
    import lsns

    for name in lsns.__all__:
        assert getattr(lsns, name) is not None
    assert sorted(lsns.__all__) == dir(lsns)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lsns.nothing


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    import lsns

    assert lsns.__version__ == version("lsns")
