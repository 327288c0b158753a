"""Functional localizers for language models: find units, lesion them, measure what is lost.

import lsns

model = lsns.load_model("smollm2-135m")
found = lsns.localize(model, "language", percentage=1)
with lsns.lesion(model, found.mask):
    print(model.generate("The quick brown fox"))
"""

import lazy_loader

# The names are those of __init__.pyi, each imported when it is first used: torch only for what
# runs a model.
_of_stub, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("lsns")
    if name not in __all__:
        raise AttributeError(f"module 'lsns' has no attribute {name!r}")
    return _of_stub(name)
