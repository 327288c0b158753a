"""Type hints as a type checker sees them: with what modules import for type checking only.

Modules import heavy packages where they are used, so that at run time a hint such as `Axes` names
nothing, and Sphinx would show all hints of that function as they are written.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

from sphinx.application import Sphinx


def complete(_app: Sphinx) -> None:
    """Make the imports under `if TYPE_CHECKING:` of every module of the package."""
    package = import_module("lsns")
    for info in pkgutil.walk_packages(package.__path__, "lsns."):
        if info.name.endswith("__main__"):
            continue
        module = import_module(info.name)
        for statement in _for_type_checking(module):
            for name, value in _imported(statement):
                setattr(module, name, value)
    _plain(import_module("lsns.specs").Spec)


def _plain(spec: type) -> None:
    """Options with their types alone: what they take is in the table of all keys."""
    made: Any = spec.__init__
    made.__annotations__ = get_type_hints(made)
    for one in spec.__subclasses__():
        _plain(one)


def _for_type_checking(module: ModuleType) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (s for s in node.body if isinstance(s, (ast.Import, ast.ImportFrom)))


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            source = import_module(statement.module or "")
            yield alias.asname or alias.name, getattr(source, alias.name)
        else:
            yield alias.asname or alias.name, import_module(alias.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Before the first page is read."""
    app.connect("builder-inited", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
