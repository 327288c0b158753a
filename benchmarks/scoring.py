"""How fast minimal pairs are scored: against one sentence at a time, and against lm-eval.

    python benchmarks/scoring.py --pairs ../shared/data/blimp --limit 100 --loop-pairs 60

All in one run: the same pairs, model, threads and prefix, and lm-eval's batches as wide as ours
(as many sentences as fit the same number of tokens). lm-eval 0.4.13 is measured if it is
installed. The rate of matrix products is that of the model's own shapes at our batch size,
measured in the same turns, for a shared machine has no constant rate. Where others use the machine
at the same time, `--cpu-time --threads 1` counts this process's own seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import lsns
from lsns.evaluation.logprobs import TOKEN_BUDGET
from lsns.evaluation.minimal_pairs import MinimalPairs
from lsns.evaluation.scoring import encode_texts, resolve_prefix, score_tokens
from lsns.models.forward import forward_pass

clock = time.perf_counter


def main() -> None:
    """Measure and print a table."""
    global clock
    options = _options()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    model = lsns.load_model(options.model, device="cpu", dtype=options.dtype)
    forward_pass(model)
    pairs = MinimalPairs("minimal-pairs", str(options.pairs), options.limit)
    texts = [text for _, text in pairs.texts]
    few = texts[:: max(1, len(texts) // (2 * options.loop_pairs))][: 2 * options.loop_pairs]

    with counted(model.model) as operations:
        expected = dict(zip(texts, _scored(model, texts), strict=True))
    ways: dict[str, tuple[Sequence[str], Callable[[], list[float]]]] = {
        "lsns": (texts, lambda: _scored(model, texts)),
        "one sentence": (few, lambda: [_alone(model, text) for text in few]),
    }
    if find_spec("lm_eval"):
        ways["lm-eval"] = (texts, _lm_eval(model, texts))
    best, rate = dict.fromkeys(ways, float("inf")), 0.0
    worst = dict.fromkeys(ways, 0.0)
    # In turns, and the best of each: what else the machine does comes and goes.
    for _ in range(options.rounds):
        rate = max(rate, matmul_rate(model))
        for name, (asked, work) in ways.items():
            found, seconds = timed(work)
            best[name] = min(best[name], seconds)
            worst[name] = max(worst[name], _worst(found, [expected[text] for text in asked]))
    seconds = best["lsns"]
    rows = [(name, len(asked), best[name], worst[name]) for name, (asked, _) in ways.items()]
    _print_table(rows, seconds / len(texts))
    done = operations[0] / seconds / 1e9
    print(f"\n{operations[0] / len(texts) * 2 / 1e9:.2f} GFLOP of matrix products per pair (lsns)")
    print(f"rate reached {done:.0f} GFLOP/s of {rate:.0f} in matrix products: {done / rate:.0%}")
    if not find_spec("lm_eval"):
        print("lm-eval is not installed: not measured")


def matmul_rate(model: Any, seconds: float = 2.0) -> float:
    """GFLOP/s of matrix products of the shape that is most of the model, at our batch size."""
    linear = max(
        (m for m in model.blocks[0].modules() if isinstance(m, torch.nn.Linear)),
        key=lambda m: m.weight.numel(),
    )
    weight, states = linear.weight, torch.randn(TOKEN_BUDGET, linear.in_features)
    states = states.to(weight.dtype)
    products, start = 0, clock()
    with torch.inference_mode():
        while clock() - start < seconds:
            torch.nn.functional.linear(states, weight)
            products += 1
    return 2 * products * TOKEN_BUDGET * weight.numel() / (clock() - start) / 1e9


@contextmanager
def counted(module: torch.nn.Module) -> Generator[list[int]]:
    """Count the operations of all linear layers, the head's among them, without attention's own."""
    total = [0]

    def count(layer: Any, inputs: Any, _output: Any) -> None:
        total[0] += 2 * inputs[0].numel() * layer.out_features

    layers = [m for m in module.modules() if isinstance(m, torch.nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        yield total
    finally:
        for handle in handles:
            handle.remove()


def timed(work: Callable[[], list[float]]) -> tuple[list[float], float]:
    """A result and the seconds that it took."""
    start = clock()
    return work(), clock() - start


def _alone(model: Any, text: str) -> float:
    front = resolve_prefix(model.tokenizer).token_id
    ids = [front, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        table = model.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return float(table[range(len(ids) - 1), ids[1:]].sum())


def _lm_eval(model: Any, texts: Sequence[str]) -> Callable[[], list[float]]:
    # Untyped: its decorators hide what its functions take.
    instances: Any = import_module("lm_eval.api.instance")
    models: Any = import_module("lm_eval.models.huggingface")
    longest = max(len(ids) for ids in model.tokenizer(list(texts))["input_ids"])
    harness = models.HFLM(
        pretrained=model.model, tokenizer=model.tokenizer, batch_size=TOKEN_BUDGET // longest
    )
    requests = [
        instances.Instance("loglikelihood", {}, ("", text), i) for i, text in enumerate(texts)
    ]
    return lambda: [value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)]


def _scored(model: Any, texts: Sequence[str]) -> list[float]:
    return [score.total for score in score_tokens(model, encode_texts(model, texts))]


def _worst(found: Sequence[float], expected: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True))


def _print_table(rows: Sequence[tuple[str, int, float, float]], per_text: float) -> None:
    print(
        f"{'':14}{'pairs':>7}{'seconds':>9}{'pairs/s':>9}{'lsns is':>10}{'largest difference':>20}"
    )
    for name, count, seconds, worst in rows:
        times = seconds / count / per_text
        print(
            f"{name:14}{count // 2:7}{seconds:9.1f}{count / 2 / seconds:9.2f}"
            f"{times:9.1f}x{worst:15.1e} nats"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="BLiMP-like jsonl or folder")
    parser.add_argument("--limit", type=int, default=100, help="pairs per paradigm")
    parser.add_argument("--loop-pairs", type=int, default=60, help="pairs for the slow loop")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2, help="turns; the best counts")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of this process alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
