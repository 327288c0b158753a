"""What a loaded model computes: its weights, tokenizer and code, and what it makes of a few texts.

A model that is as it was loaded from files is known by them. Any other, one that was made or
changed in memory, is known by what is in it, and by a *probe*: the block outputs and logits of a
few fixed texts, bit for bit. So a hook, a patched `forward` or an adapter that is switched off,
which cannot be described, makes another model. Bits differ between machines and numbers of
threads: there a model in memory is computed again, and never taken for another.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import sys
import types
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.models.sites import BLOCK_OUTPUT, HOOKS, is_lesion, without_lesions
from lsns.store import digest_of


class _Computes(Protocol):
    """What is read of a `BaseModel` to know what it computes."""

    model: nn.Module
    tokenizer: Any
    device: torch.device

    @property
    def context_length(self) -> int | None: ...
    def get_layer_names(self) -> list[str]: ...
    def evaluating(self) -> AbstractContextManager[None]: ...
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None: ...


# Of different lengths: English, nonwords, and what tokenizers treat in ways of their own.
PROBE_TEXTS = (
    "The quick brown fox jumps over the lazy dog, and nobody in the village knew why it did so.",
    "zem vepe fistes zi e mup",
    "12 + 345 = 357; naïve café, 東京 \U0001f600\n\tdef f(x):\n    return {'a': x}",
)
# Packages whose code is the same wherever they are installed, as far as a result depends on it.
KNOWN_PACKAGES = ("torch", "transformers", "accelerate", "bitsandbytes", "lsns")
# Where a call of this kind keeps what it calls.
WRAPPERS: dict[type, str] = {
    property: "fget", partial: "func", staticmethod: "__func__", classmethod: "__func__",
    types.MethodType: "__func__",
}  # fmt: skip
# Values of a weight that are looked at to notice a change.
SAMPLED = 16


def computed_identity(model: _Computes) -> str | None:
    """Names what a model in memory computes; None if it does not compute the same twice.

    Lesions are no part of it: they are paused while the model is probed.
    """
    module = model.model
    try:
        with without_lesions(module):
            content = {
                "probe": _probe(model),
                "weights": _weights(module),
                "tokenizer": _tokenizer(model.tokenizer),
                "layers": model.get_layer_names(),
                "code": [_name_of(type(model)), _code_of_class(type(model)), _foreign_code(model)],
            }
    except Exception:
        # Whatever a model of one's own raises: it is then run, not looked up, and says why itself.
        return None
    return None if content["probe"] is None else f"computed:{digest_of(content)}"


def state_of(model: _Computes) -> str | None:
    """Names all of a model that may be changed in memory; None if foreign code runs in it.

    That is a hook, a patched method, or a class of none of the known packages. To be compared
    within one process: with what it was when the model was loaded.
    """
    if is_patched() or _foreign_code(model):
        return None
    module: Any = model.model
    config: Any = getattr(module, "config", None)
    content = {
        "modules": [
            [name, _name_of(type(m)), _attributes(m)] for name, m in module.named_modules()
        ],
        "weights": _sampled(module),
        "layers": model.get_layer_names(),
        "config": config.to_json_string(use_diff=False) if hasattr(config, "to_json_string") else 0,
        "tokenizer": [_name_of(type(model.tokenizer)), _token_ids(model.tokenizer)],
    }
    return digest_of(content)


def is_patched() -> bool:
    """Whether classes of torch or transformers are patched here, or hooks run in every module."""
    hooks: Any = torch.nn.modules.module
    if hooks._global_forward_hooks or hooks._global_forward_pre_hooks:
        return True
    return not all(
        _is_known(kind.forward)
        for name, module in list(sys.modules.items())
        if name == "torch.nn" or name.startswith("transformers.models.")
        for kind in list(vars(module).values())
        if isinstance(kind, type) and issubclass(kind, nn.Module)
    )


def check_weights(module: nn.Module) -> None:
    """Raise an `LsnsError` if a weight is on no device and kept nowhere else."""
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor) and value.is_meta:
            _weight_elsewhere(module, name)


# What is in a model.


def _weights(module: nn.Module) -> str:
    """SHA-256 of all tensors, each after what names it."""
    digest = hashlib.sha256()
    values = {**dict(module.named_buffers()), **module.state_dict()}
    for name, value in sorted(values.items()):
        is_kept = isinstance(value, torch.Tensor) and value.is_meta
        _add(digest, name, _weight_elsewhere(module, name) if is_kept else value)
    return digest.hexdigest()


def _add(digest: Any, name: str, value: Any) -> None:
    flatten = getattr(value, "__tensor_flatten__", None)
    if isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            _add(digest, f"{name}.{index}", part)
    elif not isinstance(value, torch.Tensor):
        digest.update(f"{name} {value!r}".encode())
    elif flatten is not None:
        names, context = flatten()
        digest.update(f"{name} {_name_of(type(value))} {context!r}".encode())
        for part in names:
            _add(digest, f"{name}.{part}", getattr(value, part))
    else:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if not value.is_meta:
            plain = value.detach().dequantize() if value.is_quantized else value.detach()
            digest.update(plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _sampled(module: nn.Module) -> list[list[Any]]:
    """Of each weight how often it was written to, and some of its values: to notice a change.

    Torch does not count what is written through `.data`; of that, only what is sampled is seen.
    To read everything would take as long as to load the model, each time.
    """
    found: list[list[Any]] = []
    values = {**dict(module.named_parameters()), **module.state_dict()}
    for name, value in sorted(values.items()):
        if type(value) in (torch.Tensor, nn.Parameter) and not value.is_meta:
            flat = value.detach().reshape(-1)
            written = 0 if value.is_inference() else value._version
            found.append([name, written, repr(flat[:: max(1, len(flat) // SAMPLED)].tolist())])
    return found


def _weight_elsewhere(module: nn.Module, name: str) -> torch.Tensor:
    """A weight that accelerate keeps in memory or on disk until the module runs."""
    parts = name.split(".")
    for depth in reversed(range(len(parts))):
        hook = getattr(module.get_submodule(".".join(parts[:depth])), "_hf_hook", None)
        for one in getattr(hook, "hooks", [hook]):
            weights, own = getattr(one, "weights_map", None), ".".join(parts[depth:])
            if weights is not None and own in weights:
                return weights[own]
    raise LsnsError(
        f"weight {name} of {type(module).__name__} is on no device (meta), and nothing says where "
        "it is kept; load the weights first"
    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module computes with beside its tensors, as far as that is plain."""
    pairs = ((name, _plain(value)) for name, value in vars(module).items() if name[0] != "_")
    return {name: value for name, value in pairs if value is not None and name != "training"}


def _plain(value: object) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return f"{_name_of(value)} {id(value)}" if callable(value) else None


def _tokenizer(tokenizer: Any) -> list[Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        vocabulary = sorted(tokenizer.get_vocab().items())
    else:
        # Padding and truncation are set with each call.
        vocabulary = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
    code = _code_of_class(type(tokenizer))
    return [_name_of(type(tokenizer)), code, digest_of({"of": vocabulary}), _token_ids(tokenizer)]


def _token_ids(tokenizer: Any) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(list(PROBE_TEXTS))["input_ids"]]


# What a model does.


def _probe(model: _Computes) -> str | None:
    """SHA-256 of block outputs and logits of the fixed texts; None if they differ the next time."""
    tokens = [ids[: model.context_length or 64][:64] for ids in _token_ids(model.tokenizer) if ids]
    lengths = torch.tensor([[len(ids)] for ids in tokens], device=model.device)
    rows = [torch.tensor(ids, device=model.device) for ids in tokens]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (torch.arange(ids.shape[1], device=model.device) < lengths).long()
    with model.evaluating(), torch.random.fork_rng():
        first, second = (_outputs(model, ids, mask) for _ in range(2))
    return first if first == second else None


def _outputs(model: _Computes, ids: torch.Tensor, mask: torch.Tensor) -> str:
    """SHA-256 of all block outputs and of the logits."""
    digest = hashlib.sha256()
    blocks = [model.model.get_submodule(name) for name in model.get_layer_names()]
    with BLOCK_OUTPUT.reading(blocks, lambda layer, units: _add(digest, f"{layer}", units)):
        model.forward(ids, mask)
    # A model that is run in a way of its own need not be a causal one.
    with suppress(Exception):
        output = model.model(input_ids=ids, attention_mask=mask)
        found = getattr(output, "logits", output)
        parts = found if isinstance(found, (tuple, list)) else [found]
        _add(digest, "logits", [part for part in parts if isinstance(part, torch.Tensor)])
    return digest.hexdigest()


# Code.


def _foreign_code(model: _Computes) -> list[list[str]]:
    """Code of no known package that runs in a model, by where it stands, in the order of acting."""
    kinds = {type(model), *map(type, model.model.modules())}
    classes = [[_name_of(k), _code_of_class(k)] for k in kinds if not _is_known(k.forward)]
    shadowed = [
        [name, _code_of(call)]
        for name, call in vars(model).items()
        if callable(getattr(type(model), name, None))
    ]
    attached = [
        [name, kind, "lesion" if is_lesion(call) else _code_of(call)]
        for name, module in model.model.named_modules()
        # A lesion alone is no other model; that it stands before a hook, or after, is.
        if not all(_is_known(call) for _, call in _patches(module))
        for kind, call in _patches(module)
    ]
    return [*sorted(classes), *shadowed, *attached]


def _patches(module: nn.Module) -> list[tuple[str, Any]]:
    """What one module has beside its class: hooks, and a `forward` of its own."""
    found = [(kind, hook) for kind in HOOKS for hook in getattr(module, kind).values()]
    own = vars(module).get("forward")
    return found if own is None else [*found, ("forward", own)]


def _code_of_class(kind: type) -> str:
    """Of all methods that are written outside the known packages, by their byte code."""
    methods = {
        f"{parent.__qualname__}.{name}": _code_of(value)
        for parent in kind.__mro__
        for name, value in vars(parent).items()
        if not all(map(_is_from_known, _functions(value)))
    }
    return digest_of(methods)


def _code_of(call: object) -> str:
    """SHA-256 of byte code, constants and plain values that the code is bound to."""
    return digest_of({_name_of(call): [_described(one) for one in _functions(call)]})


def _described(function: types.FunctionType) -> list[Any]:
    bound = list(function.__defaults__ or ())
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled
            bound.append(cell.cell_contents)
    plain = (type(None), bool, int, float, str, bytes)
    # In version 2 of the format, bytes do not depend on the process.
    code = marshal.dumps(_bare(function.__code__), 2)
    return [code.hex(), [repr(value) for value in bound if isinstance(value, plain)]]


def _bare(code: types.CodeType) -> types.CodeType:
    """The code without where it stands."""
    inner = tuple(_bare(c) if isinstance(c, types.CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=inner, co_filename="", co_firstlineno=1, co_linetable=b"")


def _functions(call: object) -> Iterator[types.FunctionType]:
    """The Python functions that a call goes through: decorated, bound, partial, an object's."""
    seen: dict[int, Any] = {id(None): None}
    waiting: list[Any] = [call]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        inside = [getattr(one, name) for kind, name in WRAPPERS.items() if isinstance(one, kind)]
        if isinstance(one, types.FunctionType):
            yield one
        elif callable(one) and not isinstance(one, type) and not inside:
            inside = [type(one).__call__]
        waiting += [*inside, getattr(one, "__wrapped__", None)]


def _is_known(call: object) -> bool:
    """Whether all that a call goes through is of known packages, or of a lesion."""
    functions = list(_functions(call))
    return is_lesion(call) or (bool(functions) and all(map(_is_from_known, functions)))


def _is_from_known(function: types.FunctionType) -> bool:
    files = [getattr(sys.modules.get(name), "__file__", None) for name in KNOWN_PACKAGES]
    places = [f"{Path(file).parent}{os.sep}" for file in files if file]
    remote = getattr(sys.modules.get("transformers.utils"), "HF_MODULES_CACHE", None)
    # Code that came with a model's files is a part of their identity.
    known = (*places, *([f"{remote}{os.sep}"] if remote else []))
    return function.__code__.co_filename.startswith(known)


def _name_of(value: object) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"
