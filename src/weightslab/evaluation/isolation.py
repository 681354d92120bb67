"""An evaluation leaves no trace: models, metrics and torch's switches are as before, bit for bit.

What is put back in silence, since evaluating needs or forgives it: every module's mode,
buffers (BatchNorm's statistics, where a function leaves train mode on), `.grad` (the
very same tensors, which nobody within can reach), the states of torchmetrics objects,
numbers, texts and tensors that stand on modules of the user's, random generators, and
torch's switches.

What nobody who evaluates may do is change parameters: that fails the evaluation. Of
buffers and parameters up to `AFFORDABLE_BYTES` there is a copy, and they are put back
even then. What lies beyond is watched by its version alone, stays changed, and the error
says so.

What is not followed: lists and other objects that a module fills, and hooks that a
function leaves on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from weightslab.errors import EvaluationError
from weightslab.evaluation.generators import kept_generators
from weightslab.evaluation.metric_states import kept_metrics
from weightslab.evaluation.switches import kept_switches
from weightslab.evaluation.tensors import AFFORDABLE_BYTES, KeptTensors
from weightslab.isolation import preserved_rng

__all__ = ["AFFORDABLE_BYTES", "isolated"]

_PLAIN_VALUES = (bool, int, float, str, bytes, type(None), torch.Tensor)


@contextmanager
def isolated(
    models: Iterable[object],
    metrics: Iterable[object] = (),
    *,
    affordable_bytes: int = AFFORDABLE_BYTES,
) -> Iterator[None]:
    """Within, evaluate; afterwards training goes on as if nobody had, whatever was raised.

    On the thread that evaluates. Generators that a dataset holds are `run_pass`'s to keep.

    Args:
        models: every registered model; what is no `nn.Module` is passed over.
        metrics: watched losses and metrics, modules and torchmetrics objects alike.
        affordable_bytes: how much of parameters and buffers is copied.

    Raises:
        EvaluationError: a model has no parameters yet (`nn.LazyLinear` before its first
            batch), or parameters were changed within. Beside another error it is a note.
    """
    modules: dict[torch.nn.Module, str] = {}
    for given in (*models, *metrics):
        if isinstance(given, torch.nn.Module):
            for path, module in given.named_modules():
                modules.setdefault(module, f"{path}." if path else "")
    states = [_State(module) for module in modules]
    attributes = [
        (f"{modules[state.module]}{name}", value)
        for state in states
        for name, value in state.attributes.items()
        if isinstance(value, torch.Tensor)
    ]
    tensors = KeptTensors(modules, attributes, affordable_bytes)
    try:
        with ExitStack() as stack:
            stack.enter_context(preserved_rng())
            stack.enter_context(kept_generators(*modules))
            stack.callback(tensors.take_gradients())
            stack.callback(tensors.put_back)
            for state in states:
                stack.callback(state.put_back)
            stack.enter_context(kept_metrics(modules))
            stack.enter_context(kept_switches())  # the first to go back: what follows needs them
            yield
    except BaseException as error:
        problem = tensors.problem()
        if problem is not None:
            error.add_note(problem)
        raise
    problem = tensors.problem()
    if problem is not None:
        raise EvaluationError(problem)


class _State:
    """A module's mode, and the numbers, texts and tensors that stand on it."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.training = module.training
        self.attributes: dict[str, Any] = {}
        # Torch's own modules are left alone: what stands on those of its parallel wrappers
        # belongs together with what stands elsewhere.
        self._is_of_torch = type(module).__module__.partition(".")[0] == "torch"
        if not self._is_of_torch:
            self.attributes = {
                name: value for name, value in vars(module).items() if _is_plain(value)
            }

    def put_back(self) -> None:
        """Make them what they were."""
        module = self.module
        if module.training is not self.training:
            module.training = self.training
        if self._is_of_torch:
            return
        held = vars(module)
        for name in [name for name in held if name not in self.attributes]:
            if _is_plain(held[name]):
                del held[name]
        for name, value in self.attributes.items():
            if held.get(name, held) is not value:
                held[name] = value


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN_VALUES)
