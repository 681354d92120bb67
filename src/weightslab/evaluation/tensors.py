"""The parameters and buffers of models as they were, and how to make them so again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from weightslab.errors import EvaluationError

__all__ = ["AFFORDABLE_BYTES", "KeptTensors"]

AFFORDABLE_BYTES = 256 << 20
"""Of buffers and parameters together, how much is copied for the time of an evaluation."""

_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})


@dataclass(slots=True)
class _Kept:
    """One tensor, and what it was."""

    name: str
    tensor: torch.Tensor
    version: int
    copied: torch.Tensor | None = None
    """None where a copy costs too much, or cannot be put back."""

    def has_changed(self) -> bool:
        """Whether it is not what it was; a copy tells more, since `.data` has its own version."""
        if self.copied is None:
            return _version(self.tensor) != self.version
        return not (_fits(self.tensor, self.copied) and _equal_bits(self.tensor, self.copied))

    def put_back(self) -> bool:
        """Make it what it was; whether that is possible."""
        tensor, copied = self.tensor, self.copied
        if copied is None:
            return False
        if _fits(tensor, copied):
            with torch.no_grad():
                tensor.copy_(copied)
        else:  # moved, cast or resized
            tensor.data = copied
        # A graph that waits for its backward looks at the version.
        torch._C._autograd._unsafe_set_version_counter((tensor,), (self.version,))  # noqa: SLF001
        return True


class KeptTensors:
    """Parameters, buffers and gradients of modules for the time of an evaluation.

    Copies are made of what is affordable, small buffers first, since evaluating in train
    mode moves those of BatchNorm, and then of the parameters.

    Args:
        modules: every module and its name.
        attributes: tensors that stand on modules as plain attributes; kept as buffers are.
        affordable_bytes: how much is copied.

    Raises:
        EvaluationError: a parameter has no shape yet.
    """

    def __init__(
        self,
        modules: Mapping[torch.nn.Module, str],
        attributes: Iterable[tuple[str, torch.Tensor]] = (),
        affordable_bytes: int = AFFORDABLE_BYTES,
    ) -> None:
        self._affordable_bytes = affordable_bytes
        self._places = [
            (module, dict(module._parameters), dict(module._buffers))  # noqa: SLF001
            for module in modules
        ]
        names = list(modules.values())
        self._parameters = _unique(
            (f"{name}{key}", one)
            for name, (_, held, _) in zip(names, self._places, strict=True)
            for key, one in held.items()
        )
        self._buffers = _unique(
            [
                *(
                    (f"{name}{key}", one)
                    for name, (_, _, held) in zip(names, self._places, strict=True)
                    for key, one in held.items()
                ),
                *attributes,
            ]
        )
        for kept in self._parameters:
            if is_lazy(kept.tensor):
                raise EvaluationError(
                    f"the model has no {kept.name} yet, since its first batch decides about the "
                    f"shape: let one batch pass through the model before the evaluation"
                )
        self._copy_affordable()
        self._changed: list[str] = []
        self._lost: list[str] = []

    def _copy_affordable(self) -> None:
        left = self._affordable_bytes
        for kept in (*sorted(self._buffers, key=lambda one: _bytes(one.tensor)), *self._parameters):
            size = _bytes(kept.tensor)
            if size <= left and _can_be_put_back(kept.tensor):
                left -= size
                kept.copied = kept.tensor.detach().clone()

    def take_gradients(self) -> Callable[[], None]:
        """Take every gradient out of reach; gives what brings the very same ones back."""
        gradients = [(kept.tensor, kept.tensor.grad) for kept in self._parameters]
        for parameter, _ in gradients:
            parameter.grad = None

        def bring_back() -> None:
            for parameter, gradient in gradients:
                parameter.grad = gradient

        return bring_back

    def put_back(self) -> None:
        """Make everything what it was, and note what was changed and what stays so."""
        for module, parameters, buffers in self._places:
            _put_back_entries(module._parameters, parameters)  # noqa: SLF001
            _put_back_entries(module._buffers, buffers)  # noqa: SLF001
        for kept in (*self._parameters, *self._buffers):
            if not kept.has_changed():
                continue
            if not kept.put_back():
                self._lost.append(kept.name)
            elif isinstance(kept.tensor, torch.nn.Parameter):
                self._changed.append(kept.name)

    def problem(self) -> str | None:
        """What was done that no evaluation may do, in words; after `put_back`."""
        if self._lost:
            return (
                f"the evaluation changed {_some(self._lost)}, which cannot be put back: of a model "
                f"{self._affordable_bytes >> 20} MiB are copied, buffers first, and no more. "
                f"Training goes on with what it is now. An evaluation function must not train: no "
                f"optimizer step, and the model in eval mode"
            )
        if self._changed:
            return (
                f"the evaluation changed the parameters {_some(self._changed)}; they are as before "
                f"again. An evaluation function must not train: no optimizer step in it"
            )
        return None


def _put_back_entries(held: dict[str, Any], kept: dict[str, Any]) -> None:
    """Let a module's dict of tensors hold the very same ones, in the same order."""
    if len(held) != len(kept) or any(held.get(name) is not one for name, one in kept.items()):
        held.clear()
        held.update(kept)


def _unique(named: Iterable[tuple[str, torch.Tensor | None]]) -> list[_Kept]:
    """Each tensor once, by its first name: tied modules share theirs."""
    found: dict[int, _Kept] = {}
    for name, one in named:
        if one is not None and id(one) not in found:
            found[id(one)] = _Kept(name, one, _version(one))
    return list(found.values())


def _version(tensor: torch.Tensor) -> int:
    return -1 if is_lazy(tensor) or tensor.is_inference() else tensor._version  # noqa: SLF001


def _bytes(tensor: torch.Tensor) -> int:
    return 0 if is_lazy(tensor) else tensor.numel() * tensor.element_size()


def _can_be_put_back(tensor: torch.Tensor) -> bool:
    """Whether `copy_` makes a tensor what it was: not for sharded, sparse or quantized ones."""
    return (
        type(tensor) in _PLAIN
        and tensor.layout is torch.strided
        and not (tensor.is_meta or tensor.is_quantized or tensor.is_inference())
        and all(step or size < 2 for step, size in zip(tensor.stride(), tensor.shape, strict=True))
    )


def _fits(tensor: torch.Tensor, copied: torch.Tensor) -> bool:
    return (tensor.shape, tensor.dtype, tensor.device) == (
        copied.shape, copied.dtype, copied.device,
    )  # fmt: skip


def _equal_bits(tensor: torch.Tensor, copied: torch.Tensor) -> bool:
    """Equality that a NaN, after a training has diverged, does not break."""
    one, other = tensor.detach(), copied
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
