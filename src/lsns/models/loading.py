"""How transformers is called to load: quietly, and with its errors in one line each."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lsns.errors import LsnsError


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model, dequantized to float32, and its tokenizer as a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {
        "pretrained_model_name_or_path": gguf.parent,
        "gguf_file": gguf.name,
    }
    with loading(gguf.name):
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        # Dequantized, but still marked as quantized, which save_pretrained refuses.
        quantizer = getattr(model, "hf_quantizer", None)
        if quantizer is not None:
            quantizer.remove_quantization_config(model)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    for file in folder.iterdir():
        # save_pretrained leaves the weights readable by their owner only.
        file.chmod(0o644)


@contextmanager
def loading(name: str) -> Generator[None]:
    """Have transformers load a model quietly, and turn what it raises into one line."""
    memory = f"model {name!r} does not fit on the device"
    with explained(f"model {name!r} could not be loaded", memory), quiet_transformers():
        yield


@contextmanager
def explained(failure: str, memory: str) -> Generator[None]:
    """Turn what transformers raises into one line.

    Args:
        failure: what has failed, in words.
        memory: what that means where the device ran out of memory.
    """
    try:
        yield
    except LsnsError:
        raise
    except torch.OutOfMemoryError:
        raise LsnsError(f"{memory}; try --dtype bfloat16") from None
    except Exception as error:
        # Each file format, tokenizer and architecture raises errors of its own.
        raise LsnsError(f"{failure}: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    """What an error of transformers comes to, and what to do."""
    text = str(error)
    if isinstance(error, UnpicklingError):
        named = re.search(r"GLOBAL ([\w.]+)", text)
        found = f"found: {named[1]}" if named else "found: an operation that tensors do not need"
        # The text advises to switch the check off.
        return (
            f"its weights are a pickle file with more in it than tensors ({found}), and "
            "reading that can run code; get or convert them, from a source that you trust, as "
            "safetensors"
        )
    if "couldn't connect" in text or "offline" in text.lower() or "Connection" in text:
        return "it needs files of another repository, and the hub cannot be reached; load it online"
    if "trust_remote_code" in text:
        return "it brings code of its own; read it, then allow it with --trust-remote-code"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet_transformers() -> Generator[None]:
    """Neither bars nor advice from transformers; both settings are put back."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
