"""`load_model`, the registry of models of one's own, and `ModelRequest`: a model not yet loaded."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lsns.errors import LsnsError
from lsns.models.source import ModelSource, model_type, resolve_model
from lsns.plugins import MODELS, installed
from lsns.specs import ModelSpec

if TYPE_CHECKING:  # torch is imported when a model is made, not before
    from lsns.models.base import BaseModel


class ModelFactory:
    """Makes models by name.

    A registered name matches exactly, as `name:checkpoint`, or as the `model_type` in a model's
    own configuration; never as a part of a name.
    """

    _registered: ClassVar[dict[str, type[BaseModel]]] = {}

    @classmethod
    def register_model(cls, name: str, model_class: type[BaseModel]) -> None:
        """Make `name` stand for a subclass of `BaseModel`.

        Raises:
            LsnsError: not such a subclass, or a name that could not be told from a checkpoint.
        """
        from lsns.models.base import BaseModel

        if not (isinstance(model_class, type) and issubclass(model_class, BaseModel)):
            raise LsnsError(f"model {name!r}: a subclass of lsns.BaseModel is needed")
        if not name or ":" in name:
            raise LsnsError(f"{name!r} cannot be registered: a name is not empty and has no colon")
        cls._registered[name] = model_class

    @classmethod
    def find_registered(cls, name: str) -> tuple[type[BaseModel], str] | None:
        """The registered class that `name` stands for, and the checkpoint it gets."""
        key, _, checkpoint = name.partition(":")
        found = cls._registered.get(key) or installed(MODELS, key)
        if found is not None:
            return found, checkpoint or key
        # Only read when it can make a difference: it may have to ask the hub.
        kind = model_type(name) if cls._registered else None
        return (cls._registered[kind], name) if kind in cls._registered else None

    @classmethod
    def create_model(cls, name: str, **options: Any) -> BaseModel:
        """Make a model: a registered one, else any causal language model of transformers."""
        found = cls.find_registered(name)
        if found is not None:
            registered, checkpoint = found
            return registered(checkpoint, **options)
        from lsns.models.huggingface import HuggingFaceModel

        return HuggingFaceModel(name, **options)


class ModelRequest(ModelSpec):
    """A model as asked for; see `load_model`. It is loaded when it is first needed, and once.

    Attributes: the arguments of `load_model`.
    """

    def source(self) -> ModelSource | None:
        """Where its files are, found without torch; None for a registered model."""
        if ModelFactory.find_registered(self.name) is not None:
            return None
        return resolve_model(
            self.name,
            revision=self.revision,
            pretrained=self.pretrained,
            trust_remote_code=self.trust_remote_code,
        )

    def load(self) -> BaseModel:
        """Load it, the first time: for localizing, evaluating and continuing texts."""
        return self._loaded

    @cached_property
    def _loaded(self) -> BaseModel:
        return load_model(**self.but())


def check_model(model: object, *, by_name: bool = False) -> None:
    """Raise an `LsnsError` unless `model` is one of this package, or stands for one.

    Args:
        model: what was given where a model is wanted.
        by_name: whether a name or a `ModelRequest` is as good.
    """
    if by_name and isinstance(model, (str, ModelRequest)):
        return
    # What needs torch can only be there if torch was imported.
    base = getattr(sys.modules.get("lsns.models.base"), "BaseModel", ())
    if isinstance(model, base):
        return
    module = getattr(sys.modules.get("torch.nn"), "Module", ())
    kind = f"{type(model).__module__.partition('.')[0]}'s {type(model).__name__}"
    if isinstance(model, module):
        raise LsnsError(
            f"{kind} is a torch module; give lsns.HuggingFaceModel.wrap(model, tokenizer) instead"
        )
    shown = repr(model) if isinstance(model, str) else kind
    raise LsnsError(
        f"{shown} is no model; use one from lsns.load_model{', or its name' if by_name else ''}"
    )


def load_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    pretrained: bool = True,
    seed: int = 42,
    trust_remote_code: bool = False,
    blocks: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization: str | None = None,
) -> BaseModel:
    """Load any causal language model.

    Args:
        name: `smollm2-135m` (bundled, needs no hub), a hub id (`gpt2`,
            `meta-llama/Llama-3.2-1B`), a local folder, a `.gguf` file, or a registered name.
        device: `auto`, `cpu`, `cuda`, `mps` or `cuda:N`.
        dtype: `float32`, `bfloat16`, `float16` or `auto`.
        revision: branch, tag or commit (also abbreviated) of a hub repository.
        pretrained: False for random weights of the same architecture.
        seed: random seed for the random weights.
        trust_remote_code: run code that comes with the model.
        blocks: dotted path of the list of blocks, where it is not found by itself.
        device_map: spread a large model over devices: `auto`, or what transformers takes. `device`
            is then not used.
        quantization: `8bit` or `4bit` weights (extra `quantization`: bitsandbytes).

    Raises:
        LsnsError: no such model or device, or it cannot be loaded.
    """
    # A registered model need not know what it was not asked for.
    given = locals()
    asked = {key: value for key, value in given.items() if value is not None}
    if not trust_remote_code:
        del asked["trust_remote_code"]
    return ModelFactory.create_model(**asked)
