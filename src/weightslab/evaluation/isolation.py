"""An evaluation leaves no trace: models, metrics and torch's switches are as before, bit for bit.

What is put back in silence, since evaluating needs or forgives it: every module's mode,
buffers (BatchNorm's statistics, where a function leaves train mode on), `.grad` (the
very same tensors, which nobody within can touch), the states of torchmetrics objects,
plain attributes of modules, and the switches below.

What nobody who evaluates may do is change parameters: that fails the evaluation. Of
buffers and parameters up to `AFFORDABLE_BYTES` there is a copy, and they are put back
even then. What lies beyond is watched by its version alone, stays changed, and the error
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.parameter import is_lazy

from weightslab.errors import EvaluationError
from weightslab.evaluation.generators import kept_generators
from weightslab.evaluation.metric_states import kept_metrics
from weightslab.isolation import preserved_rng

__all__ = ["AFFORDABLE_BYTES", "isolated"]

AFFORDABLE_BYTES = 256 << 20
"""Of buffers and parameters together, how much is copied for the time of an evaluation."""

_PLAIN_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})
_PLAIN_VALUES = (bool, int, float, str, bytes, type(None), torch.Tensor)


@contextmanager
def isolated(models: Iterable[object], metrics: Iterable[object] = ()) -> Iterator[None]:
    """Within, evaluate; afterwards training goes on as if nobody had.

    On the thread that evaluates. Random numbers are kept too: of the global generators and
    of those that a model holds; of those that a dataset holds by `run_pass`.

    Args:
        models: every registered model; what is no `nn.Module` is passed over.
        metrics: watched losses and metrics, modules and torchmetrics objects alike.

    Raises:
        EvaluationError: a model has no parameters yet (`nn.LazyLinear` before its first
            batch), or parameters were changed within.
    """
    found = dict.fromkeys(
        module
        for given in (*models, *metrics)
        if isinstance(given, torch.nn.Module)
        for module in given.modules()
    )
    modules = list(found)
    tensors = _Tensors(modules)
    with ExitStack() as stack:
        stack.enter_context(preserved_rng())
        stack.enter_context(kept_generators(*modules))
        stack.enter_context(_kept_switches())
        stack.callback(tensors.put_back)
        stack.callback(_keep_modules(modules))
        stack.enter_context(kept_metrics(modules))
        stack.callback(tensors.take_gradients())
        yield
    tensors.check()


def _keep_modules(modules: list[torch.nn.Module]) -> Callable[[], None]:
    """What puts every module's mode and plain attributes back."""
    kept = [(module, module.training, _plain_attributes(module)) for module in modules]

    def put_back() -> None:
        for module, training, attributes in kept:
            if module.training is not training:
                module.training = training
            if attributes is not None:
                _restore_attributes(module, attributes)

    return put_back


def _plain_attributes(module: torch.nn.Module) -> dict[str, Any] | None:
    """Numbers, texts and tensors that stand on a module of the user's: a count of calls, say.

    Torch's own modules are left alone: those of its parallel wrappers belong together with
    what stands elsewhere.
    """
    if type(module).__module__.partition(".")[0] == "torch":
        return None
    return {name: value for name, value in vars(module).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN_VALUES)


def _restore_attributes(module: torch.nn.Module, attributes: dict[str, Any]) -> None:
    held = vars(module)
    for name in [name for name, value in held.items() if name not in attributes]:
        if _is_plain(held[name]):
            del held[name]
    for name, value in attributes.items():
        if held.get(name, held) is not value:
            held[name] = value


class _Tensors:
    """The parameters and buffers of modules as they were, and how to make them so again."""

    def __init__(self, modules: list[torch.nn.Module]) -> None:
        self._places = [(m, dict(m._parameters), dict(m._buffers)) for m in modules]  # noqa: SLF001
        parameters = {
            f"{type(module).__name__}.{name}": one
            for module, held, _ in self._places
            for name, one in held.items()
            if one is not None
        }
        for name, parameter in parameters.items():
            if is_lazy(parameter):
                raise EvaluationError(
                    f"the model has no {name} yet, since its first batch decides about its shape: "
                    f"let one batch pass through the model before the evaluation"
                )
        self._parameters = _unique(one for _, held, _ in self._places for one in held.values())
        buffers = _unique(one for _, _, held in self._places for one in held.values())
        self._left_bytes = AFFORDABLE_BYTES
        self._buffers = [self._kept(one) for one in buffers]
        self._kept_parameters = [self._kept(one) for one in self._parameters]
        self._changed: list[str] = []
        self._lost: list[str] = []

    def _kept(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int, torch.Tensor | None]:
        """A tensor, its version, and a copy where that is affordable."""
        size = tensor.numel() * tensor.element_size()
        is_plain = type(tensor) in _PLAIN_TENSORS and tensor.layout is torch.strided
        if not is_plain or tensor.is_meta or size > self._left_bytes:
            return tensor, tensor._version, None  # noqa: SLF001
        self._left_bytes -= size
        return tensor, tensor._version, tensor.detach().clone()  # noqa: SLF001

    def take_gradients(self) -> Callable[[], None]:
        """Take every gradient out of reach; what brings the very same ones back."""
        gradients = [(one, one.grad) for one in self._parameters if one.grad is not None]
        for parameter, _ in gradients:
            parameter.grad = None

        def bring_back() -> None:
            for parameter in self._parameters:
                parameter.grad = None
            for parameter, gradient in gradients:
                parameter.grad = gradient

        return bring_back

    def put_back(self) -> None:
        """Make parameters and buffers what they were, and note what was changed and what stays."""
        names = self._names()
        for module, parameters, buffers in self._places:
            for held, kept in ((module._parameters, parameters), (module._buffers, buffers)):  # noqa: SLF001
                if any(held.get(name) is not one for name, one in kept.items()) or len(held) != len(
                    kept
                ):
                    held.clear()
                    held.update(kept)  # type: ignore[arg-type]  # of the one kind, each
        for kept_parameter in self._kept_parameters:
            if _differs(kept_parameter):
                self._changed.append(names[id(kept_parameter[0])])
        for kept_tensor in (*self._buffers, *self._kept_parameters):
            if _differs(kept_tensor) and not _restored(kept_tensor):
                self._lost.append(names[id(kept_tensor[0])])

    def check(self) -> None:
        """Raise where something was changed that no evaluation may change."""
        if self._lost:
            raise EvaluationError(
                f"the evaluation changed {_some(self._lost)}, which cannot be put back: above "
                f"{AFFORDABLE_BYTES >> 20} MiB nothing of a model is copied. Training goes on with "
                f"what it is now. An evaluation function must not train: no optimizer step in it, "
                f"and model.eval() before the first batch"
            )
        if self._changed:
            raise EvaluationError(
                f"the evaluation changed the parameters {_some(self._changed)}; they are as before "
                f"again. An evaluation function must not train: no optimizer step in it"
            )

    def _names(self) -> dict[int, str]:
        return {
            id(one): f"{type(module).__name__}.{name}"
            for module, parameters, buffers in reversed(self._places)
            for name, one in (*parameters.items(), *buffers.items())
        }


def _unique(tensors: Iterable[torch.Tensor | None]) -> list[torch.Tensor]:
    return list({id(one): one for one in tensors if one is not None}.values())


def _differs(kept: tuple[torch.Tensor, int, torch.Tensor | None]) -> bool:
    """Whether a tensor is not what it was: by its copy, since `.data` has a version of its own."""
    tensor, version, copied = kept
    if copied is None:
        return tensor._version != version  # noqa: SLF001
    return not (tensor.shape == copied.shape and torch.equal(tensor.detach(), copied))


def _restored(kept: tuple[torch.Tensor, int, torch.Tensor | None]) -> bool:
    tensor, _, copied = kept
    if copied is None:
        return False
    # Its version too: a graph that waits for its backward looks at it.
    with torch.no_grad(), _unsafe_preserve_version_counter(tensor):
        if tensor.shape == copied.shape:
            tensor.copy_(copied)
        else:
            tensor.data = copied
    return True


def _some(names: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


# ---------------------------------------------------------------- torch's switches


@contextmanager
def _kept_switches() -> Iterator[None]:
    """Every switch of torch's that code may flip is as before afterwards.

    The cache of autocast is neither read nor filled within: what is cast without a graph
    must not come back to training, which holds its own casts in it.
    """
    kept = [(read, write, read()) for read, write in _SWITCHES]
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        for read, write, before in kept:
            if read() != before:
                write(before)


def _set_default_device(device: torch.device) -> None:
    # None, not "cpu": a default device is a mode that every call then passes through.
    torch.set_default_device(None if device.type == "cpu" else device)


def _cudnn(name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return partial(getattr, torch.backends.cudnn, name), partial(
        setattr, torch.backends.cudnn, name
    )


def _autocast(device: str) -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    return [
        (partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device)),
        (partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device)),
    ]


_SWITCHES: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    *_autocast("cpu"),
    *_autocast("cuda"),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    *(_cudnn(name) for name in ("enabled", "benchmark", "deterministic")),
]
"""How each is read and written."""
