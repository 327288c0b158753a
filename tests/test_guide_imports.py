"""The guide's import paths are those of lsns, nothing of their own, and only in the checkout."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

NAMES = [
    "analysis/__init__.py",
    "analysis/base.py",
    "analysis/mean_analyzer.py",
    "analysis/nmd_analyzer.py",
    "analysis/ttest_analyzer.py",
    "config.py",
    "models/__init__.py",
    "models/base.py",
    "models/factory.py",
]
TOP = ("analysis", "models", "config")


def python(code: str, folder) -> str:
    """What Python, started in a folder, prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_all_are_there():
    found = [path for name in TOP[:2] for path in (REPOSITORY / name).rglob("*.py")]
    found.append(REPOSITORY / "config.py")
    assert sorted(path.relative_to(REPOSITORY).as_posix() for path in found) == NAMES


def test_they_are_found_in_the_checkout_and_nowhere_else(tmp_path):
    code = f"from importlib.util import find_spec; print(*[bool(find_spec(n)) for n in {TOP}])"
    assert python(code, REPOSITORY) == "True True True"
    assert python(code, tmp_path) == "False False False"


def test_a_script_elsewhere_has_its_own(tmp_path):
    (tmp_path / "config.py").write_text("MINE = 1\n")
    # Without __init__.py a folder is the last to be found.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.py").write_text("MINE = 2\n")
    (tmp_path / "script.py").write_text(
        "import config, lsns.config, lsns.models, models.mine\nprint(config.MINE, models.mine.MINE)"
    )
    assert python("import runpy; runpy.run_path('script.py')", tmp_path) == "1 2"


@pytest.mark.parametrize("name", NAMES)
def test_re_exports_only(name):
    path = REPOSITORY / name
    dotted = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    module = importlib.import_module(dotted.removesuffix(".__init__"))
    assert module.__file__ == str(path)
    docstring, *statements = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert statements
    for statement in statements:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        assert statement.module.startswith("lsns.")
        home = importlib.import_module(statement.module)
        for name in statement.names:
            assert name.asname == name.name
            assert getattr(module, name.name) is getattr(home, name.name)
