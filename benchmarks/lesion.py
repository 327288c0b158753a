"""What does a lesion cost while text is generated? Intact and lesioned, by turns, in one run.

python benchmarks/lesion.py
"""

from __future__ import annotations

import time
from statistics import median

import lsns

ROUNDS = 12
TOKENS = 48
PROMPT = "Once upon a time, in a village by the sea,"


def count_steps(model: lsns.BaseModel) -> int:
    """How many forward passes the continuation takes."""
    steps: list[int] = []
    handle = model.blocks[0].register_forward_hook(lambda *_: steps.append(1))
    model.generate(PROMPT, max_new_tokens=TOKENS)
    handle.remove()
    return len(steps)


def main() -> None:
    """Measure and print the median of the ratios of neighbouring runs."""
    model = lsns.load_model("smollm2-135m", device="cpu")
    mask = lsns.localize(model, "language", percentage=1).mask

    def seconds_per_token() -> float:
        # A text can end early; how many steps it took is counted outside the timed run.
        steps = count_steps(model)
        start = time.perf_counter()
        model.generate(PROMPT, max_new_tokens=TOKENS)
        return (time.perf_counter() - start) / steps

    seconds_per_token()
    ratios = []
    for _ in range(ROUNDS):
        intact = seconds_per_token()
        with lsns.lesion(model, mask):
            ratios.append(seconds_per_token() / intact)
    print(f"lesioned / intact seconds per token: {median(ratios):.3f} (median of {ROUNDS})")


if __name__ == "__main__":
    main()
