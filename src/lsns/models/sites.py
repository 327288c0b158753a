"""Where in a model units are read and written: the one place that attaches hooks to modules.

A hook stands only as long as a context lasts, and is removed after an exception as well.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import nn

from lsns.errors import LsnsError

# Where torch keeps the hooks of a module, by number of attachment.
HOOKS = ("_forward_pre_hooks", "_forward_hooks")
WANTED = (
    "not one residual stream (batch, tokens, units); if other modules return it, name them with "
    "--blocks dotted.path"
)


@dataclass(frozen=True)
class Site:
    """A place in every layer where units are read and written.

    Attention heads or MLP neurons need another value only, such as
    `Site("MLP neuron", lambda block: block.mlp.down_proj, of_input=True)`.

    Attributes:
        name: what the site is called in keys and manifests.
        module: from a block to the module in it that is hooked.
        of_input: whether the units are in what goes into that module, not in what it returns.
    """

    name: str
    module: Callable[[Any], nn.Module]
    of_input: bool = False

    def read(self, state: Any) -> torch.Tensor:
        """The units in what a module takes or returns: a tensor, or the first of a tuple or list.

        Shape (batch, tokens, units).

        Raises:
            LsnsError: anything else, such as several residual streams side by side.
        """
        # Only plain ones: the first field of a named tuple need not be the residual stream.
        hidden = state[0] if type(state) in (tuple, list) else state
        if not isinstance(hidden, torch.Tensor):
            raise LsnsError(f"a block returned an object of type {type(hidden).__name__}, {WANTED}")
        if hidden.ndim != 3:
            raise LsnsError(f"a block returned {_shape(hidden)}, {WANTED}")
        return hidden

    def write(self, state: Any, hidden: torch.Tensor) -> Any:
        """`state` with the units in it replaced by `hidden`, of the same shape."""
        return type(state)((hidden, *state[1:])) if type(state) in (tuple, list) else hidden

    @contextmanager
    def reading(
        self, blocks: Sequence[nn.Module], take: Callable[[int, torch.Tensor], None]
    ) -> Generator[None]:
        """Have `take(layer, hidden)` called each time that a layer has run.

        Raises:
            LsnsError: at the end, a layer did not run.
        """
        silent = dict.fromkeys(range(len(blocks)))

        def taken(layer: int, hidden: torch.Tensor) -> None:
            silent.pop(layer, None)
            take(layer, hidden)

        with self.writing(blocks, {layer: partial(taken, layer) for layer in list(silent)}):
            yield
        for layer in silent:
            raise LsnsError(
                f"block {layer} did not run; name the right blocks with --blocks dotted.path"
            )

    @contextmanager
    def writing(
        self,
        blocks: Sequence[nn.Module],
        changes: Mapping[int, Callable[[torch.Tensor], torch.Tensor | None]],
        *,
        lesion: Any = None,
    ) -> Generator[None]:
        """Have the units of some layers replaced each time that they run.

        Args:
            blocks: all blocks of the model, in order.
            changes: by layer, from units to those in their place; None leaves them as they are.
            lesion: what `lesion_hooks` knows the change by; None: it only reads.
        """
        with ExitStack() as stack:
            for layer, change in changes.items():
                module = self.module(blocks[layer])
                before, after = module.register_forward_pre_hook, module.register_forward_hook
                hook = _Hook(self, change, lesion)
                stack.callback((before if self.of_input else after)(hook).remove)
            yield

    def width(
        self, blocks: Sequence[nn.Module], shape: tuple[int, int], run: Callable[[], None]
    ) -> int:
        """The number of units in every layer, seen in one forward pass.

        Args:
            blocks: all blocks of the model, in order.
            shape: (batch, tokens) of what `run` runs on.
            run: runs the model.

        Raises:
            LsnsError: a layer did not run, or has not (batch, tokens, the same number of units).
        """
        seen: dict[int, torch.Tensor] = {}
        with self.reading(blocks, seen.__setitem__):
            run()
        width = seen[0].shape[-1]
        for hidden in seen.values():
            if hidden.shape != (*shape, width):
                raise LsnsError(
                    f"for tokens of shape {shape}, a block returned {_shape(hidden)}, {WANTED}"
                )
        return width


@dataclass(eq=False)
class _Hook:
    """What is attached to a module.

    Attributes:
        site: how the units are read and written.
        change: from units to those in their place; None leaves them as they are.
        lesion: what the change is known by, whatever wraps the module; None: it only reads.
        paused: whether it does nothing for now.
    """

    site: Site
    change: Callable[[torch.Tensor], torch.Tensor | None]
    lesion: Any = None
    paused: bool = False

    def __call__(self, _module: nn.Module, *states: Any) -> Any:
        """Called by torch with the input, and after the module has run with the output as well."""
        changed = None if self.paused else self.change(self.site.read(states[-1]))
        return None if changed is None else self.site.write(states[-1], changed)


BLOCK_OUTPUT = Site("block output", lambda block: block)


def lesion_hooks(module: nn.Module) -> list[_Hook]:
    """The hooks of lesions in a module, in the order in which they were attached."""
    numbered = [
        item for part in module.modules() for kind in HOOKS for item in getattr(part, kind).items()
    ]
    return [hook for _, hook in sorted(numbered, key=itemgetter(0)) if is_lesion(hook)]


def is_lesion(hook: object) -> bool:
    """Whether a hook is of a lesion."""
    return isinstance(hook, _Hook) and hook.lesion is not None


@contextmanager
def without_lesions(module: nn.Module) -> Generator[None]:
    """Lesions neither act nor count what runs meanwhile."""
    hooks = lesion_hooks(module)
    for hook in hooks:
        hook.paused = True
    try:
        yield
    finally:
        for hook in hooks:
            hook.paused = False


def _shape(tensor: torch.Tensor) -> str:
    return f"a tensor of shape {tuple(tensor.shape)}"
