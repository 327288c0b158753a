"""`BaseModel`: what the rest of the package needs of a language model.

A subclass supplies four methods (`_load_model`, `_setup_tokenizer`, `_get_model_info`,
`get_layer_names`); everything else follows from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.terminal import one_line

DTYPES = ("float32", "bfloat16", "float16", "auto")


class BaseModel(ABC):
    """A causal language model with its tokenizer and its blocks.

    Args:
        name: what the model is called; a subclass decides what it means (a hub id, a folder).
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda`, `mps` or `cuda:N`.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` for that of the checkpoint.
        pretrained: trained weights; otherwise random ones, drawn with `seed`.
        seed: of the random weights.

    Attributes:
        model: the torch module.
        tokenizer: its tokenizer.
        num_layers: number of blocks.
        hidden_size: width of a block's output: the number of units in a layer.
        identity: names the exact weights and tokenizer; results are cached under it.
        quantization: `8bit` or `4bit`, or None.
        revision: of a hub repository, as it was asked for, or None.
        active_lesions: digests of the lesions that are attached now, innermost last.

    Raises:
        LsnsError: the device is not there, or the model cannot be loaded.
    """

    quantization: str | None = None
    revision: str | None = None

    def __init__(
        self,
        name: str = "",
        *,
        device: str | torch.device = "auto",
        dtype: str = "float32",
        pretrained: bool = True,
        seed: int = 42,
    ) -> None:
        self.name = name
        self.device = resolve_device(device)
        self.dtype_name = dtype
        self.dtype = parse_dtype(dtype)
        self.pretrained = pretrained
        self.seed = seed
        self.active_lesions: list[str] = []
        self._identity: str | None = None
        self.model: nn.Module = self._load_model()
        self.tokenizer: Any = self._setup_tokenizer()
        info = self._get_model_info()
        self.num_layers, self.hidden_size = int(info["num_layers"]), int(info["hidden_size"])
        self._pristine = self._versions()

    def __repr__(self) -> str:
        """Which model, in one line."""
        n_layers, hidden_size = self.shape
        weights = "" if self.pretrained else f", random weights (seed {self.seed})"
        lesions = f", {len(self.active_lesions)} active lesions" if self.active_lesions else ""
        return one_line(
            f"{type(self).__name__}({self.name}: {n_layers} layers x {hidden_size} units, "
            f"{self.dtype_name}{weights}, on {self.device}{lesions})"
        )

    @abstractmethod
    def _load_model(self) -> nn.Module:
        """Return the torch module, on `self.device`, in `self.dtype`."""

    @abstractmethod
    def _setup_tokenizer(self) -> Any:
        """Return a transformers tokenizer."""

    @abstractmethod
    def _get_model_info(self) -> Mapping[str, Any]:
        """Return at least `num_layers` and `hidden_size`."""

    @abstractmethod
    def get_layer_names(self) -> list[str]:
        """Return the dotted names of the blocks in `self.model`, in order."""

    @property
    def label(self) -> str:
        """Short name, for the names of result files."""
        return self.name.rstrip("/").rsplit("/", 1)[-1]

    @property
    def layer_names(self) -> list[str]:
        """Dotted names of the blocks, in order."""
        return self.get_layer_names()

    @cached_property
    def blocks(self) -> list[nn.Module]:
        """The modules whose outputs are the residual stream, in order."""
        return [self.model.get_submodule(name) for name in self.layer_names]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, hidden_size): the shape of every mask and score map."""
        return self.num_layers, self.hidden_size

    @property
    def blocks_path(self) -> str | None:
        """The path of the blocks that was asked for; None where they were found."""
        return None

    @property
    def context_length(self) -> int | None:
        """The most tokens that the model reads, where its configuration says so."""
        config: Any = getattr(self.model, "config", None)
        text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else None
        length = getattr(text, "max_position_embeddings", None)
        return length if isinstance(length, int) else None

    @property
    def identity(self) -> str:
        """Names the exact weights: as loaded, or by content once they were changed in memory.

        A change through `parameter.data` is not noticed by torch, and so not here.
        """
        if self._identity is None or self._versions() != self._pristine:
            self._identity, self._pristine = content_identity(self.model), self._versions()
        return self._identity

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Run all blocks on right-padded tokens, both of shape (batch, tokens).

        What the blocks return is read by hooks; there is no need to compute logits. A model that
        is not called like a causal one of transformers overrides this.
        """
        self.model(input_ids=input_ids, attention_mask=attention_mask)

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 20,
        temperature: float | None = None,
        seed: int = 42,
        use_cache: bool = True,
    ) -> str:
        """Continue `prompt`; see `lsns.lesions.generation.generate`."""
        from lsns.lesions.generation import generate

        return generate(
            self,
            prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            use_cache=use_cache,
        )

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; every module's own mode is put back."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            for module in training:
                module.training = True

    def _versions(self) -> list[tuple[int, int]]:
        # Torch counts the in-place changes of a tensor; a replaced tensor has another address.
        return [(p.data_ptr(), p._version) for p in self.model.parameters() if not p.is_inference()]


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device of that name.

    Raises:
        LsnsError: no such device on this machine.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise LsnsError(f"device {str(device)!r} is not there; found: {_devices()}") from None
    return found


def parse_dtype(dtype: str) -> torch.dtype | None:
    """The torch dtype of that name; None for `auto`, the checkpoint's own."""
    if dtype not in DTYPES:
        raise LsnsError(f"no dtype {dtype!r}; use one of {', '.join(DTYPES)}")
    return None if dtype == "auto" else getattr(torch, dtype)


def content_identity(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers: for weights that no file or commit stands for."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return f"content:{digest.hexdigest()}"


def _devices() -> str:
    found = ["cpu"]
    found += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return ", ".join(found)
