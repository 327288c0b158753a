"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

Arguments are packages to leave out: torch, whose old builds are gigabytes, is tested at the version
of requirements.txt.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("gguf", "evaluation")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)")


def lowest(extras: tuple[str, ...] = EXTRAS) -> dict[str, str]:
    """The lowest version of each dependency, of the package and of some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    found = [REQUIREMENT.fullmatch(text) for text in asked]
    return {match["name"]: match["version"] for match in found if match}


if __name__ == "__main__":
    left_out = set(sys.argv[1:])
    print("\n".join(f"{n}=={v}" for n, v in lowest().items() if n not in left_out))
