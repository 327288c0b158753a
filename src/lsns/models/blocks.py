"""Where the parts of any causal language model are: its decoder, blocks and configuration."""

from __future__ import annotations

from typing import Any

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
    depth, inside = _depth(model), {id(module) for module in decoder_of(model).modules()}
    # By their names in the whole model.
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and id(module) in inside
    }
    found = [n for n in lists if not any(n.startswith(f"{other}.") for other in lists)]
    if len(found) != 1:
        raise LsnsError(
            f"the blocks of {type(model).__name__} were not found: lists of {depth} modules: "
            f"{', '.join(found) or 'none'}; name the right one with --blocks dotted.path"
        )
    return _named(found[0], lists[found[0]])


def decoder_of(model: nn.Module) -> nn.Module:
    """The module that runs all blocks without the language modelling head."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return model
    # Some models return a list or an inner layer here.
    decoder = model.get_decoder()
    return decoder if isinstance(decoder, PreTrainedModel) else model.base_model


def text_config(model: nn.Module) -> Any:
    """The part of a model's configuration that is about text; None where it has none."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else None


def _depth(model: nn.Module) -> int:
    text = text_config(model)
    # In the configuration of an encoder-decoder, num_hidden_layers is the encoder's.
    names = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")
    depth = next((getattr(text, name) for name in names if hasattr(text, name)), None)
    if not isinstance(depth, int) or depth < 1:
        raise LsnsError(
            f"the config of {type(model).__name__} has no num_hidden_layers; name its blocks with "
            "--blocks dotted.path"
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
            f"lists in it: {', '.join(lists[:8]) or 'none'}; name one with --blocks dotted.path"
        )
    return found


def _named(path: str, modules: nn.ModuleList) -> tuple[list[str], list[nn.Module]]:
    if len({id(module) for module in modules}) != len(modules):
        raise LsnsError(
            f"the list at {path!r} holds a module twice, so that its blocks cannot be told apart; "
            "name another with --blocks dotted.path"
        )
    return [f"{path}.{index}" for index in range(len(modules))], list(modules)
