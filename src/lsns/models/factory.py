"""`load_model`, the registry of models of one's own, and `ModelRequest`: a model not yet loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lsns.errors import LsnsError
from lsns.models.source import ModelSource, resolve_model

if TYPE_CHECKING:  # torch is imported when a model is made, not before
    from lsns.models.base import BaseModel


class ModelFactory:
    """Makes models by name. A registered name matches exactly, or as `name:checkpoint`."""

    _registered: ClassVar[dict[str, type[BaseModel]]] = {}

    @classmethod
    def register_model(cls, name: str, model_class: type[BaseModel]) -> None:
        """Make `name` stand for a subclass of `BaseModel`."""
        from lsns.models.base import BaseModel

        if not (isinstance(model_class, type) and issubclass(model_class, BaseModel)):
            raise LsnsError(f"model {name!r}: a subclass of lsns.BaseModel is needed")
        cls._registered[name] = model_class

    @classmethod
    def is_registered(cls, name: str) -> bool:
        """Whether `name`, or what stands before its colon, was registered."""
        return name.partition(":")[0] in cls._registered

    @classmethod
    def create_model(cls, name: str, **options: Any) -> BaseModel:
        """Make a model: a registered one, else any causal language model of transformers."""
        key, _, checkpoint = name.partition(":")
        registered = cls._registered.get(key)
        if registered is not None:
            return registered(checkpoint or key, **options)
        from lsns.models.huggingface import HuggingFaceModel

        return HuggingFaceModel(name, **options)


@dataclass(frozen=True)
class ModelRequest:
    """A model as asked for; see `load_model`. It is loaded only when its activations are missing.

    Attributes: the arguments of `load_model`.
    """

    name: str
    device: str = "auto"
    dtype: str = "float32"
    revision: str | None = None
    pretrained: bool = True
    seed: int = 42
    trust_remote_code: bool = False
    blocks: str | None = None

    def source(self) -> ModelSource | None:
        """Where its files are, found without torch; None for a registered model."""
        if ModelFactory.is_registered(self.name):
            return None
        return resolve_model(self.name, revision=self.revision)

    def load(self) -> BaseModel:
        """Load it."""
        return load_model(**asdict(self))


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
) -> BaseModel:
    """Load any causal language model.

    Args:
        name: `smollm2-135m` (bundled, needs no hub), a hub id (`gpt2`,
            `meta-llama/Llama-3.2-1B`), a local folder, a `.gguf` file, or a registered name.
        device: `auto`, `cpu`, `cuda`, `mps` or `cuda:N`.
        dtype: `float32`, `bfloat16`, `float16` or `auto`.
        revision: branch, tag or commit of a hub repository.
        pretrained: False for random weights of the same architecture.
        seed: of the random weights.
        trust_remote_code: run code that comes with the model.
        blocks: dotted path of the list of blocks, where it is not found by itself.

    Raises:
        LsnsError: no such model or device, or it cannot be loaded.
    """
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "pretrained": pretrained,
        "seed": seed,
    }
    extra = {"revision": revision, "trust_remote_code": trust_remote_code, "blocks": blocks}
    options |= {key: value for key, value in extra.items() if value not in (None, False)}
    return ModelFactory.create_model(name, **options)
