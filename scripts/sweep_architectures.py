"""Check every causal-LM type of transformers, and write what was found to docs/architectures.md.

python scripts/sweep_architectures.py                 all types, and the document
python scripts/sweep_architectures.py gpt2 mamba      these types, and no document
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.architectures import Outcome, model_types, survey  # noqa: E402

DOCUMENT = ROOT / "docs" / "architectures.md"
SECONDS_PER_TYPE = 60
STATUSES = ("passed", "refused", "failed", "not applicable")
INTRODUCTION = """# Architectures

Written by `python scripts/sweep_architectures.py` with transformers {version}; do not edit.

Every type of transformers' causal language models, as a tiny random model of that type
(`tests/architectures.py`), is compared with plain forward passes and plain PyTorch hooks:

- the blocks are found, and what they return is what transformers reports as hidden states;
- `lsns.extract` equals one plain forward pass per text, whatever the batch;
- `lsns.localize` selects exactly as many units as asked for;
- under `lsns.lesion` the selected units are exactly 0 at every block, for every token of the prompt
  and every generated token, with the KV cache and without; the other units of the first block are
  untouched; the logits are those of a lesion written with plain hooks;
- greedy generation under a lesion is the same with the KV cache and without it;
- afterwards, also after an exception, no hook is left, and the intact logits are bitwise the same.

This says that the package reads and lesions these architectures as it should. It says nothing of
what trained models of them do.

`refused` means one line that says why, when the model is loaded, and never a wrong result.
"""


def main(names: list[str]) -> int:
    """Check the types of these names, or all; the exit status is 1 if one of them failed."""
    outcomes: dict[str, Outcome] = {}
    for name in names or model_types():
        outcomes[name] = outcome = checked(name)
        print(f"{name}: {outcome.status}: {'; '.join((outcome.blocks, *outcome.remarks))}")
        sys.stdout.flush()
    print(summary(outcomes))
    if not names:
        DOCUMENT.write_text(document(outcomes))
    return int(any(outcome.status == "failed" for outcome in outcomes.values()))


def checked(name: str) -> Outcome:
    """One type, within its time; whatever it raises is its result."""
    try:
        with time_limit(SECONDS_PER_TYPE), tempfile.TemporaryDirectory() as folder:
            return survey(name, Path(folder))
    except TimeoutError:
        return Outcome("failed", remarks=(f"not done after {SECONDS_PER_TYPE} seconds",))


@contextmanager
def time_limit(seconds: int) -> Generator[None]:
    """Raise a `TimeoutError` where the block takes longer."""

    def stop(_number: int, _frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def summary(outcomes: Mapping[str, Outcome]) -> str:
    """How many types of how many came out how."""
    counts = Counter(outcome.status for outcome in outcomes.values())
    parts = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    return f"{len(outcomes)} model types: {parts}"


def document(outcomes: Mapping[str, Outcome]) -> str:
    """The document: the same for the same code and the same transformers."""
    from importlib.metadata import version

    rows = [
        f"| {name} | {f'`{outcome.blocks}`' if outcome.blocks else ''} | {outcome.status} | "
        f"{'; '.join(outcome.remarks).replace('|', '/')} |"
        for name, outcome in sorted(outcomes.items())
    ]
    head = ["| Type | Blocks | Result | Remarks |", "| --- | --- | --- | --- |"]
    introduction = INTRODUCTION.format(version=version("transformers"))
    counts = f"**{summary(outcomes)}.** {kinds(outcomes)}"
    return "\n".join([introduction, counts, "", *head, *rows, ""])


def kinds(outcomes: Mapping[str, Outcome]) -> str:
    """How many of those that passed are not decoders from the start."""
    remarks = [" ".join(o.remarks) for o in outcomes.values() if o.status == "passed"]
    halves = sum("encoder-decoder" in remark for remark in remarks)
    encoders = sum("is_decoder=True" in remark for remark in remarks)
    return (
        f"Of those that passed, {len(remarks) - halves - encoders} are decoders from the start, "
        f"{encoders} are encoders run as decoders, {halves} are the decoder of an encoder-decoder."
    )


def quiet() -> None:
    """No advice from transformers between the lines, and one thread: the models are tiny."""
    import warnings

    import torch
    from transformers.utils import logging

    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)


if __name__ == "__main__":
    quiet()
    started = time.monotonic()
    status = main(sys.argv[1:])
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(status)
