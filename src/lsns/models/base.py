"""`BaseModel`: what the rest of the package needs of a language model.

A subclass supplies four methods (`_load_model`, `_setup_tokenizer`, `_get_model_info`,
`get_layer_names`); everything else follows from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.models.blocks import text_config
from lsns.models.computation import computed_identity, state_of
from lsns.models.loading import quiet_transformers
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
        seed: random seed for the draw of such weights.

    Attributes:
        model: the torch module.
        tokenizer: its tokenizer.
        num_layers: number of blocks.
        hidden_size: width of a block's output: the number of units in a layer.
        quantization: `8bit` or `4bit` weights; None where they are as in the checkpoint.
        revision: branch, tag or commit of a hub repository, as it was asked for, or None.
        commit: the commit of a hub repository that the model came from, or None.
        blocks_path: the dotted path of the blocks that was asked for; None where they were found.
        files_identity: names the files that determine what the model computes; None where none do.

    Raises:
        LsnsError: the device is not there, or the model cannot be loaded.
    """

    quantization: str | None = None
    revision: str | None = None
    commit: str | None = None
    blocks_path: str | None = None
    files_identity: str | None = None

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
        self.device = _device(device)
        self.dtype_name = dtype
        self.dtype = _dtype(dtype)
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
    def precision(self) -> str:
        """The dtype of the weights, whatever was asked for."""
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    @property
    def context_length(self) -> int | None:
        """The most tokens that the model reads, where its configuration says so."""
        length = getattr(text_config(self.model), "max_position_embeddings", None)
        return length if isinstance(length, int) else None

    @property
    def identity(self) -> str | None:
        """Names what the model computes, by its files as long as it is as it was loaded.

        Results are cached under it.

        A model that was made or changed in memory, by a hook or an adapter as well, is known by
        its content and by what it makes of a few texts, for which it runs. None if it does not
        make the same of them twice: then nothing is looked up in a cache.
        """
        files, before = self.files_identity, self._as_loaded
        if files is not None and before is not None and state_of(self) == before:
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
        """The continuation of a prompt, without the prompt; lesions that are attached act.

        Args:
            prompt: read as it is, with the special tokens that the tokenizer adds by itself.
            max_new_tokens: how many tokens at most.
            temperature: sample at this temperature; None: greedy.
            seed: random seed for the sampling; the global generator is put back as it was.
            use_cache: keep keys and values of earlier tokens.

        Raises:
            LsnsError: an impossible number or temperature, or a prompt without tokens, with one
                that the model does not know, or longer than it reads.
        """
        ids = self._prompt_ids(prompt, max_new_tokens, temperature)
        tokens, sampled = torch.tensor([ids], device=self.device), temperature is not None
        module: Any = self.model
        with self.evaluating(), torch.random.fork_rng(enabled=sampled), quiet_transformers():
            if sampled:
                torch.manual_seed(seed)
            produced = module.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=max_new_tokens,
                use_cache=use_cache,
                **_generation_settings(module, self.tokenizer, temperature),
            )
        return self.tokenizer.decode(produced[0, len(ids) :].tolist(), skip_special_tokens=True)

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
    def evaluating(self) -> Generator[None]:
        """Evaluation mode without gradients; every module's own mode is put back."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            for module in training:
                module.training = True


def _device(device: str | torch.device) -> torch.device:
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise LsnsError(f"device {str(device)!r} is not there; found: {', '.join(there)}") from None
    return found


def _dtype(dtype: str) -> torch.dtype | None:
    """The torch dtype of that name; None for `auto`, the checkpoint's own."""
    if dtype not in DTYPES:
        raise LsnsError(f"no dtype {dtype!r}; use one of {', '.join(DTYPES)}")
    return None if dtype == "auto" else getattr(torch, dtype)


def _generation_settings(module: Any, tokenizer: Any, temperature: float | None) -> dict[str, Any]:
    """Everything that a checkpoint's own generation settings could change."""
    end = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    end = tokenizer.eos_token_id if end is None else end
    first = end[0] if isinstance(end, (list, tuple)) else end
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    return {
        "do_sample": temperature is not None,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "min_new_tokens": 0,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
        "eos_token_id": end,
        "pad_token_id": first if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        **sampling,
    }
