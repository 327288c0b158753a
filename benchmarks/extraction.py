"""How fast is localization, against a loop over single texts, in one run on one machine?

Prints the extraction alone and the whole process, each as a ratio to the baseline of
`benchmarks/baseline.py`, in float32 and bfloat16; the share of the measured matmul rate that the
extraction reaches; and the peak memory of the process. Only ratios travel between machines.

    python benchmarks/extraction.py [--stimuli FOLDER]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
HERE = Path(__file__).parent
LANGLOC = HERE.parent.parent / "shared" / "data" / "langloc"


def best_of(times: int, function: Callable[[], object]) -> float:
    """The shortest of several runs: the one least disturbed by others on the machine."""

    def once() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return min(once() for _ in range(times))


def matmul_rate(dtype: Any, size: int = 1536) -> float:
    """Floating-point operations per second of a large matrix product, best of ten."""
    import torch

    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / best_of(10, lambda: a @ b)


def operations(model: Any, lengths: Sequence[int]) -> float:
    """Floating-point operations of the blocks: linear layers, and attention itself."""
    import torch

    linear = sum(
        module.weight.numel()
        for block in model.blocks
        for module in block.modules()
        if isinstance(module, torch.nn.Linear)
    )
    attention = sum(4 * n * n * model.hidden_size * model.num_layers for n in lengths)
    return 2 * linear * sum(lengths) + attention


def measure_extraction(stimuli: str, dtype: str) -> dict[str, float]:
    """Seconds of both extractions in this process, and of the arithmetic alone."""
    import torch
    from baseline import extract_one_by_one

    import lsns
    from lsns.activations import read_texts

    model = lsns.load_model("smollm2-135m", device="cpu", dtype=dtype)
    contrast = lsns.load_contrast(stimuli)
    lengths = [len(text.ids) for text in read_texts(model, contrast.texts, 12)]
    lsns.extract(model, contrast.texts[:96], max_tokens=12)
    ours = best_of(3, lambda: lsns.extract(model, contrast.texts, max_tokens=12))
    rate = matmul_rate(getattr(torch, dtype))
    loop = best_of(1, lambda: extract_one_by_one(model.model, model.tokenizer, contrast.texts))
    return {
        "ours": ours,
        "loop": loop,
        "arithmetic": operations(model, lengths) / rate,
        "rate": rate,
    }


def run_process(command: Sequence[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MB of a process, imports and loading included."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{command} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def measure_processes(stimuli: str, dtype: str, folder: Path) -> dict[str, float]:
    """Whole processes: ours with an empty cache, and the baseline's."""
    loop, _ = run_process([sys.executable, str(HERE / "baseline.py"), str(folder), stimuli, dtype])
    runs = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-m", "lsns", "localize", "--model-name", "smollm2-135m"]
            command += ["--stimuli", stimuli, "--dtype", dtype, "--cache-dir", cache]
            runs.append(run_process([*command, "--device", "cpu"]))
    seconds, memory = min(runs)
    return {"ours": seconds, "loop": loop, "memory": memory}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = str(LANGLOC) if LANGLOC.is_dir() else "language"
    parser.add_argument("--stimuli", default=default, help="langloc folder, or language")
    stimuli = parser.parse_args().stimuli

    from lsns.models import bundled

    folder = bundled.ensure()
    weights = (folder / "model.safetensors").stat().st_size / 2**20
    print(f"stimuli: {Path(stimuli).name}; model: {bundled.NAME}; weights {weights:.0f} MB float32")
    loops: dict[str, dict[str, float]] = {}
    for dtype in ("float32", "bfloat16"):
        inside = measure_extraction(stimuli, dtype)
        whole = measure_processes(stimuli, dtype, folder)
        loops[dtype] = {"extraction": inside["loop"], "process": whole["loop"]}
        reference = loops["float32"]
        print(f"{dtype}")
        print(f"  extraction   {inside['ours']:7.2f} s", end="")
        print(f"  = {reference['extraction'] / inside['ours']:5.1f}x the float32 loop", end="")
        print(f"  = {inside['loop'] / inside['ours']:5.1f}x the {dtype} loop")
        print(f"  arithmetic   {inside['arithmetic']:7.2f} s  at the measured matmul rate", end="")
        print(f" ({inside['rate'] / 1e9:.0f} GFLOP/s): extraction takes", end="")
        print(f" {inside['ours'] / inside['arithmetic']:.2f}x of it")
        print(f"  process      {whole['ours']:7.2f} s", end="")
        print(f"  = {reference['process'] / whole['ours']:5.1f}x the float32 loop", end="")
        print(f"  = {whole['loop'] / whole['ours']:5.1f}x the {dtype} loop")
        print(f"  peak memory  {whole['memory']:7.0f} MB", end="")
        share = weights if dtype == "float32" else weights / 2
        print(f" = the {dtype} weights plus {whole['memory'] - share:.0f} MB")


if __name__ == "__main__":
    main()
