"""Code of a user's own: analyzers and models by name, from a module, a file or an entry point.

Code that a file names (a configuration, a task of lm-eval) is run only with permission; see
`permit`. What is installed, typed on the command line or passed in Python needs none.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lsns.errors import LsnsError

logger = logging.getLogger(__name__)
ANALYZERS = "lsns.analyzers"
MODELS = "lsns.models"
# Pieces of code that a line names.
SHOWN = 5


def names_code(method: str) -> bool:
    """Whether a method is code to be imported, `module:Class` or `file.py:Class`."""
    return ":" in method


def permit(code: Sequence[str], *, allowed: bool) -> None:
    """Say what code is going to be run, or refuse it; nothing is run here.

    Args:
        code: what would be run and where it is named, each in words, such as
            `model.plugins: my_models.py`; nothing needs no permission.
        allowed: whether it may be run.

    Raises:
        LsnsError: there is code, and it is not allowed.
    """
    if not code:
        return
    more = f"; and {len(code) - SHOWN} more" if len(code) > SHOWN else ""
    what = "; ".join(code[:SHOWN]) + more
    if not allowed:
        raise LsnsError(
            f"this would run code ({what}); if you trust it, allow it with --allow-code (in "
            "Python: allow_code=True)"
        )
    logger.info("running code, as allowed: %s", what)


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name, or from a `.py` file.

    Modules of the current folder are found as well. Naming code on the command line is asking for
    it to be run; nothing is imported that was not named or installed.

    Raises:
        LsnsError: no such module or file, or it cannot be imported.
    """
    try:
        with _current_folder():
            if name.endswith(".py"):
                return _from_file(Path(name))
            return importlib.import_module(name)
    except LsnsError:
        raise
    except Exception as error:
        raise LsnsError(
            f"{name!r} could not be imported ({type(error).__name__}: {error}); give a module or a "
            ".py file"
        ) from error


def load_attribute(path: str) -> Any:
    """What `module:Name` or `file.py:Name` stands for.

    Raises:
        LsnsError: no such module, or nothing of that name in it.
    """
    module_name, _, name = path.rpartition(":")
    module = load_module(module_name)
    if not hasattr(module, name):
        raise LsnsError(f"module {module_name!r} has no {name!r}")
    return getattr(module, name)


def installed(group: str, name: str) -> Any | None:
    """The entry point of that name, loaded; None if no installed package has one."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        return entry.load()
    return None


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise LsnsError(f"no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _current_folder() -> Generator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
