"""`BaseModel`: what the rest of the package needs of a language model.

A subclass supplies four methods (`_load_model`, `_setup_tokenizer`, `_get_model_info`,
`get_layer_names`); everything else follows from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.models.blocks import text_config
from lsns.models.computation import computed_identity, is_foreign, state_of
from lsns.models.sites import lesion_hooks
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
        identity: names what the model computes; results are cached under it.
        quantization: `8bit` or `4bit`, or None.
        revision: of a hub repository, as it was asked for, or None.

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
        self.model: nn.Module = self._load_model()
        self.tokenizer: Any = self._setup_tokenizer()
        info = self._get_model_info()
        self.num_layers, self.hidden_size = int(info["num_layers"]), int(info["hidden_size"])
        self._as_loaded = state_of(self)

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
    def commit(self) -> str | None:
        """The commit of a hub repository that the model came from."""
        return None

    @property
    def context_length(self) -> int | None:
        """The most tokens that the model reads, where its configuration says so."""
        length = getattr(text_config(self.model), "max_position_embeddings", None)
        return length if isinstance(length, int) else None

    @property
    def files_identity(self) -> str | None:
        """Names the files that determine what the model computes; None where none do."""
        return None

    @property
    def identity(self) -> str | None:
        """Names what the model computes: by its files, as long as it is as it was loaded.

        A model that was made or changed in memory, by a hook or an adapter as well, is known by
        its content and by what it makes of a few texts, for which it runs. None if it does not
        make the same of them twice: then nothing is looked up in a cache.
        """
        files = self.files_identity
        if files is not None and not is_foreign(self) and state_of(self) == self._as_loaded:
            return files
        return computed_identity(self)

    @property
    def active_lesions(self) -> list[str]:
        """Digests of the lesions that are attached now, innermost last."""
        lesions = [hook.lesion for hook in lesion_hooks(self.model)]
        return list({id(one): one.digest for one in lesions}.values())

    @property
    def n_embeddings(self) -> int | None:
        """How many tokens the model has embeddings for, where its module tells."""
        module: Any = self.model
        try:
            return int(module.get_input_embeddings().weight.shape[0])
        except (AttributeError, NotImplementedError):
            return None

    def check_ids(
        self, tokens: Sequence[Sequence[int]], names: Sequence[str] | None = None
    ) -> None:
        """Whether the model has an embedding for every token; a tokenizer may know more than it.

        Args:
            tokens: ids per text.
            names: what each text is called in an error; by default by its number.

        Raises:
            LsnsError: a token without one.
        """
        known = self.n_embeddings
        for index, ids in enumerate(tokens):
            strange = max(ids, default=0)
            if known is not None and strange >= known:
                token = self.tokenizer.convert_ids_to_tokens(strange)
                raise LsnsError(
                    f"{names[index] if names else f'text {index + 1}'} has the token {token!r} of "
                    f"id {strange}, and the model has embeddings for {known} tokens; use the "
                    "tokenizer that it was trained with"
                )

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
        """The continuation of `prompt`, without the prompt; see `lsns.generate`."""
        from lsns.models.generation import continue_tokens

        ids = self._prompt_ids(prompt, max_new_tokens, temperature)
        with self.evaluating():
            new = continue_tokens(
                self.model,
                self.tokenizer,
                torch.tensor([ids], device=self.device),
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                use_cache=use_cache,
            )
        return self.tokenizer.decode(new, skip_special_tokens=True)

    def _prompt_ids(self, prompt: str, max_new_tokens: int, temperature: float | None) -> list[int]:
        if max_new_tokens < 1:
            raise LsnsError(f"max-new-tokens must be at least 1; got {max_new_tokens}")
        if temperature is not None and not temperature > 0:
            raise LsnsError(
                f"temperature must be above 0; got {temperature}; leave it out for greedy"
            )
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise LsnsError(
                f"the prompt {prompt[:40]!r} is no UTF-8 text; write it as UTF-8"
            ) from None
        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        if not ids:
            raise LsnsError("the prompt has no tokens; give a longer one")
        self.check_ids([ids], ["the prompt"])
        limit = self.context_length
        if limit is not None and len(ids) + max_new_tokens - 1 > limit:
            raise LsnsError(
                f"a prompt of {len(ids)} tokens and {max_new_tokens} new ones are more than the "
                f"model reads, {limit}; use a shorter prompt or a smaller --max-new-tokens"
            )
        return ids

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


def _devices() -> str:
    found = ["cpu"]
    found += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return ", ".join(found)
