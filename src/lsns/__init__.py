"""Functional localizers for language models: find units, lesion them, measure what is lost.

import lsns

model = lsns.load_model("smollm2-135m")
found = lsns.localize(model, "language", percentage=1)
with lsns.lesion(model, found.mask):
    print(model.generate("The quick brown fox"))
"""

from __future__ import annotations

from importlib import import_module

# Type checkers take it for true, and `typing` would cost more than the rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lsns.activations import extract as extract
    from lsns.analysis import BaseAnalyzer as BaseAnalyzer
    from lsns.audits.audit import Audit as Audit
    from lsns.audits.auditing import audit as audit
    from lsns.audits.comparison import Comparison as Comparison
    from lsns.audits.comparison import compare as compare
    from lsns.errors import LsnsError as LsnsError
    from lsns.evaluation.study import Study as Study
    from lsns.evaluation.study import evaluate as evaluate
    from lsns.lesions.ablation import lesion as lesion
    from lsns.lesions.controls import control_mask as control_mask
    from lsns.lesions.generation import generate as generate
    from lsns.localization import Localization as Localization
    from lsns.localization import localize as localize
    from lsns.mask import UnitMask as UnitMask
    from lsns.models.base import BaseModel as BaseModel
    from lsns.models.factory import ModelFactory as ModelFactory
    from lsns.models.factory import load_model as load_model
    from lsns.models.huggingface import HuggingFaceModel as HuggingFaceModel
    from lsns.moments import Moments as Moments
    from lsns.stimuli.contrast import Contrast as Contrast
    from lsns.stimuli.networks import load_contrast as load_contrast

    __version__: str

# A name is imported when it is first used: torch only for what runs a model.
_HOMES = {
    "extract": "activations",
    "BaseAnalyzer": "analysis",
    "Audit": "audits.audit",
    "audit": "audits.auditing",
    "Comparison": "audits.comparison",
    "compare": "audits.comparison",
    "LsnsError": "errors",
    "Study": "evaluation.study",
    "evaluate": "evaluation.study",
    "lesion": "lesions.ablation",
    "control_mask": "lesions.controls",
    "generate": "lesions.generation",
    "Localization": "localization",
    "localize": "localization",
    "UnitMask": "mask",
    "BaseModel": "models.base",
    "ModelFactory": "models.factory",
    "load_model": "models.factory",
    "HuggingFaceModel": "models.huggingface",
    "Moments": "moments",
    "Contrast": "stimuli.contrast",
    "load_contrast": "stimuli.networks",
}
__all__ = [
    "Audit",
    "BaseAnalyzer",
    "BaseModel",
    "Comparison",
    "Contrast",
    "HuggingFaceModel",
    "Localization",
    "LsnsError",
    "ModelFactory",
    "Moments",
    "Study",
    "UnitMask",
    "audit",
    "compare",
    "control_mask",
    "evaluate",
    "extract",
    "generate",
    "lesion",
    "load_contrast",
    "load_model",
    "localize",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lsns")
    if name not in _HOMES:
        raise AttributeError(f"module 'lsns' has no attribute {name!r}")
    return getattr(import_module(f"lsns.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
