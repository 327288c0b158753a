"""The guide's import paths are those of lsns, and nothing of their own."""

from __future__ import annotations

import ast
import importlib

import pytest

from tests.conftest import REPOSITORY

COMPAT = REPOSITORY / "compat"
FILES = sorted(COMPAT.rglob("*.py"))


def test_all_are_there():
    assert [str(path.relative_to(COMPAT)) for path in FILES] == [
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(COMPAT)))
def test_re_exports_only(path):
    dotted = ".".join(path.relative_to(COMPAT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)
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
