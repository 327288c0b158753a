"""Any causal language model of transformers: one generic path, no table of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError
from lsns.models.base import BaseModel
from lsns.models.blocks import decoder_of, find_blocks
from lsns.models.computation import check_weights
from lsns.models.forward import run_module
from lsns.models.hub import ModelRepository
from lsns.models.loading import explained, loading
from lsns.models.sites import BLOCK_OUTPUT
from lsns.models.source import ModelSource, resolve_model


class HuggingFaceModel(BaseModel):
    """A causal language model from the hub, a folder, a `.gguf` file, or memory.

    Args:
        name: `smollm2-135m` (bundled), a hub id, a local folder, or a `.gguf` file.
        device: `auto` (cuda, else mps, else cpu), `cpu`, `cuda`, `mps` or `cuda:N`.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` for that of the checkpoint.
        revision: branch, tag or commit (also abbreviated) of a hub repository.
        pretrained: trained weights; otherwise random ones, drawn with `seed`.
        seed: random seed for the draw.
        trust_remote_code: run code that comes with the model. Off unless asked for.
        blocks: dotted path of the list of blocks, where it is not found by itself.
        device_map: spread the model over devices, as transformers does it: `auto`, or a dictionary
            from module names to devices, the CPU and `disk`. `device` is then not used.
        quantization: `8bit` or `4bit` weights, by bitsandbytes.

    Attributes:
        source: where the model's files are.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | torch.device = "auto",
        dtype: str = "float32",
        revision: str | None = None,
        pretrained: bool = True,
        seed: int = 42,
        trust_remote_code: bool = False,
        blocks: str | None = None,
        device_map: str | dict[str, Any] | None = None,
        quantization: str | None = None,
    ) -> None:
        self._placement = _placement(device_map, quantization)
        self.quantization = quantization
        self.revision = revision
        self.blocks_path = blocks
        self._trust_remote_code = trust_remote_code
        read = {"pretrained": pretrained, "trust_remote_code": trust_remote_code}
        self.source = resolve_model(name, revision, **read)
        super().__init__(name, device=device, dtype=dtype, pretrained=pretrained, seed=seed)
        self.commit = self.source.revision

    @classmethod
    def wrap(
        cls, model: nn.Module, tokenizer: Any, *, name: str = "model", blocks: str | None = None
    ) -> HuggingFaceModel:
        """A model that is in memory already, with its weights as they are.

        They may be quantized, or kept in memory or on disk by accelerate until they are used.

        Args:
            model: a causal language model.
            tokenizer: its tokenizer, of transformers.
            name: for the names of result files.
            blocks: dotted path of the list of blocks, where it is not found by itself.

        Raises:
            LsnsError: not a model with weights that can be run.
        """
        _check_module(model, tokenizer)
        self = cls.__new__(cls)
        self.source = ModelSource(name, "folder", name)
        self.blocks_path = blocks
        self._in_memory = (model, tokenizer)
        self.quantization = _quantization(model)
        BaseModel.__init__(self, name, device=_device_of_input(model), dtype="auto")
        self.dtype_name = _precision(model)
        return self

    _in_memory: tuple[nn.Module, Any] | None = None

    @property
    def label(self) -> str:
        """Short name, for the names of result files."""
        return self.source.label

    def get_layer_names(self) -> list[str]:
        """Dotted names of the blocks, in order."""
        return self._layer_names

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Run the blocks without the language modelling head, which no unit depends on."""
        run_module(self._decoder, input_ids, attention_mask=attention_mask)

    def _load_model(self) -> nn.Module:
        if self._in_memory is not None:
            model = self._in_memory[0]
        else:
            where = self._where()
            # A subclass may compute something else from the same files.
            self.files_identity = self.source.identity if type(self) is HuggingFaceModel else None
            with loading(self.name):
                model = self._from_files(where).eval()
        self._layer_names, _ = find_blocks(model, self.blocks_path)
        self._decoder = decoder_of(model)
        return model

    def _fetch(self) -> None:
        """Get the files of a hub repository; of a model that cannot be loaded, no weights."""
        from transformers import AutoConfig

        wanted = ModelRepository(self.source.location, self.revision, weights=self.pretrained)
        commit = wanted.ask()
        folder = replace(wanted, weights=False).fetch(commit)
        self.source = replace(self.source, path=folder, revision=commit)
        with loading(self.name):
            AutoConfig.from_pretrained(**self._where())
        wanted.fetch(commit)

    def _setup_tokenizer(self) -> Any:
        if self._in_memory is not None:
            return self._in_memory[1]
        from transformers import AutoTokenizer

        with loading(self.name):
            return AutoTokenizer.from_pretrained(**self._where())

    def _get_model_info(self) -> Mapping[str, Any]:
        return {"num_layers": len(self._layer_names), "hidden_size": self._probe()}

    def _probe(self) -> int:
        """The number of units in a block's output, seen in one forward pass on a few tokens.

        What a configuration calls its hidden size is not this in every architecture, and blocks
        that cannot be read are found here rather than after a long run.
        """
        tokens = torch.tensor([[0, 1, 2], [2, 1, 0]], device=self.device)
        kind = type(self.model).__name__
        runs = explained(
            f"{kind} does not run on tokens alone, as a decoder-only language model does",
            f"{kind} fits on the device, but cannot run: out of memory",
        )
        with self.evaluating(), torch.random.fork_rng(), runs:
            return BLOCK_OUTPUT.width(
                self.blocks, (2, 3), lambda: self.forward(tokens, torch.ones_like(tokens))
            )

    def _from_files(self, where: Mapping[str, Any]) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        model: Any
        if self.pretrained:
            read = {**where, **self._placement}
            model = AutoModelForCausalLM.from_pretrained(**read, dtype=self.dtype or "auto")
            if self._placement:
                # Tokens go where the first layer is; transformers moves the states from there.
                self.device = model.get_input_embeddings().weight.device
                return model
            return model.to(self.device)
        if self._placement:
            raise LsnsError("--untrained goes with neither --device-map nor --quantization")
        config = AutoConfig.from_pretrained(**where)
        # Weights are drawn from the global generator; it is put back as it was.
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = AutoModelForCausalLM.from_config(
                config, trust_remote_code=self._trust_remote_code
            )
        return model.to(self.device, self.dtype or model.dtype)

    def _where(self) -> dict[str, Any]:
        """What transformers is told of the files, which are on this machine from here on."""
        if self.source.path is None:
            self._fetch()
        path = Path(str(self.source.path))
        file = {"gguf_file": path.name} if self.source.kind == "gguf" else {}
        return {
            "pretrained_model_name_or_path": path.parent if file else path,
            "trust_remote_code": self._trust_remote_code,
            **file,
        }


def _check_module(model: object, tokenizer: object) -> None:
    if not isinstance(model, nn.Module) or not callable(tokenizer):
        raise LsnsError(
            "a model in memory is wrapped as HuggingFaceModel.wrap(model, tokenizer), a torch "
            f"module and its tokenizer; got {type(model).__name__} and {type(tokenizer).__name__}"
        )
    if not any(True for _ in model.parameters()):
        raise LsnsError(f"{type(model).__name__} has no weights")
    check_weights(model)


def _device_of_input(model: nn.Module) -> torch.device:
    """The device that tokens go to; accelerate moves all else from there."""
    first = next(model.parameters())
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    weight = getattr(embeddings, "weight", first)
    hook = getattr(embeddings, "_hf_hook", None)
    there: Any = getattr(hook, "execution_device", None)
    if weight.is_meta and there is not None:
        return torch.device("cuda", there) if isinstance(there, int) else torch.device(there)
    return next((p.device for p in (weight, *model.parameters()) if not p.is_meta), first.device)


def _precision(model: nn.Module) -> str:
    """The dtype of most of the weights that are numbers with a fraction."""
    sizes: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] += parameter.numel()
    (dtype, _), *_ = sizes.most_common(1) or [(next(model.parameters()).dtype, 0)]
    return str(dtype).removeprefix("torch.")


def _quantization(model: nn.Module) -> str | None:
    """What a model's own configuration says of how its weights are quantized."""
    for bits in ("8bit", "4bit"):
        if getattr(model, f"is_loaded_in_{bits}", False):
            return bits
    config: Any = getattr(getattr(model, "config", None), "quantization_config", None)
    read = config.get if isinstance(config, dict) else lambda key: getattr(config, key, None)
    method = read("quant_method")
    return None if method is None else str(getattr(method, "value", method))


def _placement(device_map: str | dict[str, Any] | None, quantization: str | None) -> dict[str, Any]:
    """What transformers is told of where and how the weights are kept."""
    if quantization not in (None, "8bit", "4bit"):
        raise LsnsError(f"no quantization {quantization!r}; use 8bit or 4bit")
    needed = {"accelerate": "gguf"} if device_map or quantization else {}
    needed |= {"bitsandbytes": "quantization"} if quantization else {}
    for package, extra in needed.items():
        if find_spec(package) is None:
            option = "quantization" if quantization else "device-map"
            raise LsnsError(f"{option} needs {package}: pip install 'lsns[{extra}]'")
    if quantization is None:
        return {"device_map": device_map} if device_map else {}
    from transformers import BitsAndBytesConfig

    bits: dict[str, Any] = {f"load_in_{quantization}": True}
    return {"device_map": device_map or "auto", "quantization_config": BitsAndBytesConfig(**bits)}
