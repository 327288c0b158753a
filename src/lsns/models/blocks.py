"""Find the transformer blocks of any causal language model, and read what a block returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[list[str], list[nn.Module]]:
    """The blocks whose outputs are the residual stream, in order, with their dotted names.

    The one `nn.ModuleList` is looked for whose length is the text configuration's
    `num_hidden_layers`, inside the decoder. No table of model names is needed.

    Args:
        model: a causal language model of transformers.
        path: dotted path of the list of blocks, for a model in which it is not found.

    Returns:
        Names such as `model.layers.0`, and the modules.

    Raises:
        LsnsError: none or several such lists, or nothing at `path`.
    """
    if path is not None:
        return _named(path, _list_at(model, path))
    depth = _depth(model)
    candidates = {
        name: module
        for name, module in _decoder(model).named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    outer = {
        name: module
        for name, module in candidates.items()
        if not any(other != name and name.startswith(f"{other}.") for other in candidates)
    }
    if len(outer) != 1:
        found = ", ".join(outer) or "none"
        raise LsnsError(
            f"the blocks of {type(model).__name__} were not found: lists of {depth} modules: "
            f"{found}; name the right one with --blocks dotted.path"
        )
    modules = next(iter(outer.values()))
    return _named(_name_of(model, modules), modules)


def hidden_states(output: Any) -> torch.Tensor:
    """The residual stream in what a block returned: a tensor, or the first of a tuple.

    Shape (batch, tokens, hidden_size).
    """
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(hidden, torch.Tensor) or hidden.ndim != 3:
        raise LsnsError(
            f"a block returned {type(hidden).__name__}, not a tensor (batch, tokens, units); "
            "name the right blocks with --blocks dotted.path"
        )
    return hidden


def with_hidden_states(output: Any, hidden: torch.Tensor) -> Any:
    """`output` with the residual stream in it replaced."""
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    if isinstance(output, list):
        return [hidden, *output[1:]]
    return hidden


def _decoder(model: nn.Module) -> nn.Module:
    from transformers import PreTrainedModel

    # Some models return a list or an inner layer here; then the whole model is searched.
    decoder = model.get_decoder() if isinstance(model, PreTrainedModel) else model
    return decoder if isinstance(decoder, PreTrainedModel) else model


def _depth(model: nn.Module) -> int:
    config: Any = getattr(model, "config", None)
    if config is None:
        raise LsnsError(f"{type(model).__name__} has no config to tell its depth; use --blocks")
    text = config.get_text_config(decoder=True)
    depth = getattr(text, "num_hidden_layers", None)
    if not isinstance(depth, int) or depth < 1:
        raise LsnsError(
            f"the config of {type(model).__name__} has no num_hidden_layers; use --blocks"
        )
    return depth


def _list_at(model: nn.Module, path: str) -> nn.ModuleList:
    try:
        found = model.get_submodule(path)
    except AttributeError:
        found = None
    if not isinstance(found, nn.ModuleList) or len(found) == 0:
        lists = [name for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
        raise LsnsError(
            f"no list of blocks at {path!r} in {type(model).__name__}; "
            f"lists in it: {', '.join(lists[:8]) or 'none'}"
        )
    return found


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def _named(path: str, modules: nn.ModuleList) -> tuple[list[str], list[nn.Module]]:
    return [f"{path}.{index}" for index in range(len(modules))], list(modules)
