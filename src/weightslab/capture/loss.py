# ruff: noqa: SLF001  # what autograd saved for backward is only found under private names
"""The unreduced form of a reduced loss, beside the caller's untouched result.

Cheapest first: a cross entropy keeps its log-probabilities for `backward`, and a
gather from them is the loss of each row. Otherwise torch's own losses are called
a second time, without gradients and with `reduction="none"`. Anything else is
left alone: calling somebody's code twice could draw random numbers or change state.

Shapes: B owners, R rows of the loss (B, or B*T), C classes.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.modules import loss as losses

from weightslab.capture.fold import find_owner_axis, group, share
from weightslab.capture.transfer import Array, Values, to_values

__all__ = [
    "FUNCTIONS",
    "LossSource",
    "Unreduced",
    "loss_source",
    "owner_axis",
    "per_owner",
    "plain_rows",
    "unreduced",
]

_REDUCTIONS = ("none", "mean", "sum")  # in the order of torch's own enumeration
_VIEWS = frozenset({"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"})
FUNCTIONS = frozenset(
    getattr(F, name)
    for name in (
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
        "cross_entropy", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss",
        "kl_div", "l1_loss", "linear_cross_entropy", "margin_ranking_loss", "mse_loss",
        "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
        "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
        "triplet_margin_with_distance_loss",
    )
    if hasattr(F, name)
)  # fmt: skip
"""Every loss function of torch that can be called again without its reduction."""
_OF_LABELS = frozenset(
    getattr(F, name)
    for name in ("cross_entropy", "nll_loss", "linear_cross_entropy")
    if hasattr(F, name)
)
_MODULES_OF_LABELS = tuple(
    getattr(losses, name)
    for name in ("CrossEntropyLoss", "NLLLoss", "LinearCrossEntropyLoss")
    if hasattr(losses, name)
)


@dataclass(frozen=True, slots=True)
class Unreduced:
    """A loss before its reduction."""

    elements: torch.Tensor
    """[R, ...], detached."""
    reduction: str
    """The caller's: none, mean, sum or batchmean."""
    weights: torch.Tensor | None
    """What each element adds to the caller's denominator, shaped like `elements`; None: 1."""


@dataclass(frozen=True, slots=True)
class LossSource:
    """One of torch's own losses, and how to call it again without its reduction."""

    call: Callable[..., Any]
    names: tuple[str, ...]
    """Parameter names of `call`, in order."""
    module: torch.nn.Module | None
    preset: Mapping[str, Any]
    """Arguments that a `functools.partial` fixed."""
    kind: str
    """labels (class indices, an ignored one among them), ctc, or plain."""

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a call by name, tensors detached."""
        named = {**self.preset, **dict(zip(self.names, args, strict=False)), **kwargs}
        return {
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in named.items()
        }

    def setting(self, named: Mapping[str, Any], name: str, default: Any = None) -> Any:
        """A setting that a module keeps and a function is given."""
        return (
            named.get(name, default) if self.module is None else getattr(self.module, name, default)
        )

    def reduction(self, named: Mapping[str, Any]) -> str:
        """The reduction of a call."""
        if self.module is None and (
            named.get("size_average") is not None or named.get("reduce") is not None
        ):
            average = named.get("size_average") is not False
            if named.get("reduce") is False:
                return "none"
            return "mean" if average else "sum"
        return str(self.setting(named, "reduction", "mean"))

    def without_reduction(self, named: Mapping[str, Any]) -> Any:
        """Call again with `reduction="none"`; the caller's own object stays as it is."""
        if self.module is None:
            again = {k: v for k, v in named.items() if k not in ("size_average", "reduce")}
            return self.call(**{**again, "reduction": "none"})
        twin = object.__new__(type(self.module))
        twin.__dict__.update(self.module.__dict__, reduction="none")
        return self.call(twin, **named)


def loss_source(obj: object) -> LossSource | None:
    """How to call `obj` again, if it is a loss of torch; None for anybody else's code."""
    if isinstance(obj, torch.nn.Module):
        # What torch.compile keeps of the module that it was given.
        return _of_module(getattr(obj, "_orig_mod", obj))
    preset: dict[str, Any] = {}
    while isinstance(obj, functools.partial):
        if obj.args:
            return None
        preset, obj = {**obj.keywords, **preset}, obj.func
    if not isinstance(obj, FunctionType) or obj not in FUNCTIONS:
        return None
    if _has_own_distance(preset.get("distance_function")):
        return None
    kind = "labels" if obj in _OF_LABELS else "ctc" if obj is F.ctc_loss else "plain"
    return LossSource(obj, tuple(inspect.signature(obj).parameters), None, preset, kind)


def _of_module(module: torch.nn.Module) -> LossSource | None:
    forward: Callable[..., Any] = type(module).forward
    if getattr(forward, "__module__", None) != losses.__name__ or "forward" in vars(module):
        return None
    if _has_own_distance(getattr(module, "distance_function", None)):
        return None
    names = tuple(inspect.signature(forward).parameters)[1:]
    kind = "labels" if isinstance(module, _MODULES_OF_LABELS) else "plain"
    if isinstance(module, losses.CTCLoss):
        kind = "ctc"
    return LossSource(forward, names, module, MappingProxyType({}), kind)


def _has_own_distance(distance: object) -> bool:
    return not (
        distance is None
        or distance is F.pairwise_distance
        or type(distance) is torch.nn.PairwiseDistance
    )


def unreduced(
    source: LossSource | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    result: torch.Tensor,
) -> Unreduced | None:
    """The loss of `result` [] before its reduction, or None when it is nobody's we know.

    Called right after the loss, in the caller's autocast state and before `backward`.
    """
    node = result.grad_fn
    if node is not None and type(node).__name__ == "NllLossBackward0":
        return _from_graph(node)
    if source is None:
        return None
    named = source.arguments(args, kwargs)
    if _has_own_distance(named.get("distance_function")):
        return None
    reduction = source.reduction(named)
    with torch.no_grad(), _said_already(source.kind, named):
        elements = source.without_reduction(named)
        weights = _weights(source, named, elements)
        if source.kind == "ctc" and reduction == "mean":
            lengths = torch.as_tensor(named["target_lengths"], device=elements.device)
            elements = elements / lengths.clamp(min=1).to(elements.dtype)
    return Unreduced(elements, reduction, weights)


def plain_rows(result: torch.Tensor) -> torch.Tensor | None:
    """Rows [R] of an unweighted cross entropy whose mean `result` [] is; None for others."""
    node = result.grad_fn
    if node is None or type(node).__name__ != "NllLossBackward0":
        return None
    loss = _from_graph(node)
    return loss.elements if loss.weights is None and loss.reduction == "mean" else None


def _from_graph(node: Any) -> Unreduced:
    """Rows of a cross entropy from the log-probabilities [R, C] that it saved for `backward`."""
    chances, labels, per_class = node._saved_self.detach(), node._saved_target, node._saved_weight
    reduction = _REDUCTIONS[node._saved_reduction]
    if chances.ndim == 1:
        chances, labels = chances[None], labels.reshape(1)
    if per_class is None and reduction == "mean" and node._saved_total_weight.item() == len(labels):
        return Unreduced(-chances.gather(1, labels[:, None])[:, 0], reduction, None)
    ignored = labels == _signed(node._saved_ignore_index)
    seen = labels.masked_fill(ignored, 0)
    elements = -chances.gather(1, seen[:, None])[:, 0]
    if per_class is None:
        weights = (~ignored).to(elements.dtype)
    else:
        weights = per_class.detach()[seen].masked_fill(ignored, 0)
        elements = elements * weights
    # Filled, not multiplied: the infinite loss of an ignored row would become NaN.
    return Unreduced(elements.masked_fill(ignored, 0), reduction, weights)


def _signed(number: int) -> int:
    """Torch hands a saved int64 out as uint64: -100 arrives as 2**64 - 100."""
    return number - 2**64 if number >= 2**63 else number


def _weights(
    source: LossSource, named: Mapping[str, Any], elements: torch.Tensor
) -> torch.Tensor | None:
    weight: torch.Tensor | None = source.setting(named, "weight")
    if source.kind != "labels":
        # mse, l1 and huber divide by their weights; the binary ones and the margins do not.
        divides = source.module is None and source.call in (F.mse_loss, F.l1_loss, F.huber_loss)
        return weight if divides else None
    target: torch.Tensor = named["target"]
    if target.is_floating_point():
        return None  # probabilities: the mean is over the rows, whatever they weigh
    ignore_index = source.setting(named, "ignore_index", -100)
    ignored = target == (-100 if ignore_index is None else ignore_index)
    if weight is None:
        return (~ignored).to(elements.dtype)
    return weight[target.masked_fill(ignored, 0)].masked_fill(ignored, 0).to(elements.dtype)


def _said_already(kind: str, named: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Keep torch from warning a second time of unequal shapes, which it just did."""
    given, wanted = named.get("input"), named.get("target")
    if kind == "plain" and getattr(given, "shape", None) != getattr(wanted, "shape", None):
        return warnings.catch_warnings(action="ignore")
    return nullcontext()  # changing the filters is not safe beside other threads: only if needed


def owner_axis(rows: int, owners: int, tensors: tuple[Any, ...], *, certain: bool) -> int | None:
    """Where `owners` stand among `rows`; see `find_owner_axis`.

    Views remember the shape that they had before they were flattened. With
    `certain=False` a multiple of `owners` counts as [B, T] flattened where nothing is
    remembered, unless the rows were concatenated (two views of each sample).
    """
    if rows == owners:
        return 0
    if owners == 0 or rows % owners:
        return None
    found = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    shapes = [tuple(tensor.shape) for tensor in found]
    nodes: list[Any] = [tensor.grad_fn for tensor in found]
    shapes.extend(tuple(n._saved_self_sym_sizes) for n in nodes if type(n).__name__ in _VIEWS)
    shapes.extend(tuple(tensor._base.shape) for tensor in found if tensor._base is not None)
    axis = find_owner_axis(rows, owners, shapes)
    if axis is not None or certain:
        return axis
    return None if any(type(node).__name__ == "CatBackward0" for node in nodes) else 0


def per_owner(loss: Unreduced, owners: int, axis: int) -> tuple[Values, Array | None]:
    """Fold a loss to its owners by the caller's reduction.

    Returns the values [B'] and which owners have one (bool [B], None: all). Their
    mean is what the caller got, or their sum for `reduction="sum"`.
    """
    elements, rows = loss.elements, loss.elements.shape[0] if loss.elements.ndim else 1
    if elements.element_size() < 4:
        elements = elements.float()
    single = elements.numel() == owners
    if loss.weights is None:
        if single and (loss.reduction != "batchmean" or rows == owners):
            return to_values(elements.reshape(owners)), None
        grouped = group(elements, owners, axis)
        if loss.reduction in ("none", "mean"):
            return to_values(grouped.mean(1)), None
        return share(
            to_values(grouped.sum(1)), None, rows if loss.reduction == "batchmean" else None
        )
    if loss.reduction == "none":
        return to_values(group(elements, owners, axis).mean(1)), None
    sums, weights = (
        to_values(part.reshape(owners) if single else group(part, owners, axis).sum(1))
        for part in (elements, loss.weights)
    )
    denominator = float(weights.sum(dtype="float64")) if loss.reduction == "mean" else None
    return share(sums, weights, denominator)
