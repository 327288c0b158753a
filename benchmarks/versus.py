"""Is this checkout slower than another one? The same jobs by both, in turns, in one run.

    git worktree add ../before COMMIT
    python benchmarks/versus.py ../before [--rounds 7]

Each job is a process of its own; what is compared is the processor time (user and system) of the
job, which others on the machine disturb less than the time on the clock: of a whole process for
start-up and for a second question of the cache, and of the job alone for extraction and scoring.
A ratio below 1 says that this checkout is the faster one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent.parent
TIMED = """
import time, lsns
model = lsns.load_model("smollm2-135m", device="cpu")
{prepare}
{job}
start = time.process_time()
{job}
print(time.process_time() - start)
"""
EXTRACTION = TIMED.format(
    prepare="texts = lsns.load_contrast('language').texts[:192]",
    job="lsns.extract(model, texts, max_tokens=12)",
)
SCORING = TIMED.format(
    prepare="from lsns.evaluation.logprobs import sequence_logprobs\n"
    "texts = lsns.load_contrast('language').positive[:192]\n"
    "tokens = model.tokenizer(list(texts))['input_ids']",
    job="sequence_logprobs(model, tokens)",
)
LOCALIZE = ["-m", "lsns", "localize", "--model-name", "smollm2-135m", "--percentage"]
JOBS = {
    "start-up (--help)": ["-m", "lsns", "--help"],
    "second run": [*LOCALIZE, "2"],
    "extraction": ["-c", EXTRACTION],
    "scoring": ["-c", SCORING],
}


def processor_seconds(checkout: Path, arguments: list[str], cache: str) -> float:
    """What a job takes: as it says itself, else of its whole process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "LOC_CACHE": cache}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if arguments[0] == "-c":
        return float(done.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkouts = {"here": HERE, "other": options.other.resolve()}
    with tempfile.TemporaryDirectory() as place:
        caches = {name: f"{place}/{name}" for name in checkouts}
        for name, checkout in checkouts.items():
            processor_seconds(checkout, [*LOCALIZE, "1"], caches[name])
        print(f"{'job':<20}{'here':>9}{'other':>9}   here/other: median, least, most")
        for job, arguments in JOBS.items():
            pairs = [
                [processor_seconds(path, arguments, caches[name]) for name, path in order]
                for turn in range(options.rounds)
                # Who is first alternates.
                for order in [list(checkouts.items())[:: 1 if turn % 2 == 0 else -1]]
            ]
            pairs = [pair[:: 1 if turn % 2 == 0 else -1] for turn, pair in enumerate(pairs)]
            here, other = (median(values) for values in zip(*pairs, strict=True))
            ratios = sorted(mine / theirs for mine, theirs in pairs)
            print(
                f"{job:<20}{here:>7.2f} s{other:>7.2f} s   "
                f"{median(ratios):.3f}, {ratios[0]:.3f}, {ratios[-1]:.3f}"
            )


if __name__ == "__main__":
    main()
