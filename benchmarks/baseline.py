"""The honest baseline: a localizer as it is usually written.

One text at a time, through the whole model with its language modelling head, all hidden states of
all blocks collected by hooks and pooled afterwards, scipy's t-test layer by layer, then a mask.
Run by itself it is the baseline process:

    python benchmarks/baseline.py MODEL_FOLDER STIMULI DTYPE
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any


def extract_one_by_one(model: Any, tokenizer: Any, texts: Sequence[str]) -> Any:
    """Last-token block outputs (n_texts, n_layers, hidden_size), float32, 12 tokens each."""
    import numpy as np
    import torch

    blocks = model.model.layers
    states: dict[int, Any] = {}

    def reader(index: int) -> Any:
        def read(_module: Any, _inputs: Any, output: Any) -> None:
            states[index] = output[0] if isinstance(output, tuple) else output

        return read

    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        handles = [b.register_forward_hook(reader(i)) for i, b in enumerate(blocks)]
        with torch.no_grad():
            model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        for handle in handles:
            handle.remove()
        rows.append(torch.stack([states[i][0, -1].float() for i in range(len(blocks))]).numpy())
    return np.stack(rows)


def main(folder: str, stimuli: str, dtype: str) -> None:
    """A whole baseline process; prints the seconds of its extraction."""
    import numpy as np
    import torch
    from scipy.stats import false_discovery_control, ttest_ind
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import lsns

    contrast = lsns.load_contrast(stimuli)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = time.perf_counter()
    rows = extract_one_by_one(model, tokenizer, contrast.texts)
    seconds = time.perf_counter() - start
    split = len(contrast.positive)
    test: Any = ttest_ind(np.abs(rows[:split]), np.abs(rows[split:]), axis=0, equal_var=False)
    t, p = np.asarray(test.statistic), np.asarray(test.pvalue)
    false_discovery_control(p.ravel())
    mask = np.zeros(t.size, dtype=int)
    mask[np.argsort(-t.ravel())[: t.size // 100]] = 1
    print(f"extraction {seconds}")


if __name__ == "__main__":
    main(*sys.argv[1:])
