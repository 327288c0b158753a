"""How long does a further selection take, as a whole process, once the activations are cached?

python benchmarks/second_run.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median

RUNS = 7
SELECTIONS = {
    "another percentage": ["--percentage", "5"],
    "another method": ["--method", "nmd"],
    "another sign": ["--method", "ttest-signed"],
    "another range": ["--localize-range", "80-90"],
}


def seconds(command: Sequence[str], folder: str) -> float:
    """Median wall seconds of a whole process."""

    def once() -> float:
        start = time.perf_counter()
        environment = {**os.environ, "LOC_CACHE": folder}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - start

    return median(once() for _ in range(RUNS))


def main() -> None:
    """Measure and print."""
    lsns = [sys.executable, "-m", "lsns"]
    localize = [*lsns, "localize", "--model-name", "smollm2-135m"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LOC_CACHE": folder}
        subprocess.run(localize, check=True, capture_output=True, env=environment)
        for name, options in SELECTIONS.items():
            print(f"{name:<20} {seconds([*localize, *options], folder):.2f} s")
        print(f"{'--help':<20} {seconds([*lsns, '--help'], folder):.2f} s")
        print(f"{'localize --help':<20} {seconds([*lsns, 'localize', '--help'], folder):.2f} s")


if __name__ == "__main__":
    main()
