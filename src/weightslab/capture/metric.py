"""Losses, metrics and functions as watched signals: the same call, and every value on record."""

from __future__ import annotations

import copy
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from weightslab.capture.loss import LossSource, loss_source
from weightslab.capture.options import checked_flag
from weightslab.capture.recorder import checked_name
from weightslab.capture.silence import listen
from weightslab.capture.tap import KEYWORDS, SignalSpec, Tap
from weightslab.capture.torchmetric import watch_torchmetric
from weightslab.errors import InputError
from weightslab.evaluation.metric_states import is_torchmetric

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["WatchedFunction", "watch_signal"]

_NOTHING: Mapping[str, Any] = {}


def watch_signal(
    session: Session,
    obj: Any,
    *,
    obj_name: str | None = None,
    signal_name: str | None = None,
    name: str | None = None,
    per_sample: bool = False,
    per_instance: bool = False,
    log: bool = True,
) -> Any:
    """Watch a loss, a metric or any function that returns numbers.

    A module comes back as a shallow copy that shares parameters and buffers, so
    that one module can be watched under two names; a function as a callable; a
    torchmetrics object as itself. Raises `InputError` for what cannot be called.
    """
    per_sample = checked_flag("per_sample", per_sample)
    per_instance = checked_flag("per_instance", per_instance)
    log = checked_flag("log", log)
    if per_sample and per_instance:
        raise InputError("a signal is per_sample or per_instance, not both: watch it twice")
    given = next((n for n in (signal_name, name, obj_name) if n is not None), None)
    spec = SignalSpec(
        checked_name(_own_name(obj) if given is None else given), per_sample, per_instance, log
    )
    watched: Any
    if is_torchmetric(obj):
        tap = Tap(session, spec)
        watched = watch_torchmetric(obj, tap)
    elif isinstance(obj, torch.nn.Module):
        if isinstance(obj, torch.jit.ScriptModule):
            raise InputError(
                "a scripted module cannot take keywords of ours: watch the module that it was made "
                "of, or wrap the call in a function and watch that"
            )
        plain: torch.nn.Module = getattr(obj, "_orig_mod", obj)
        tap = Tap(session, spec, _declared(type(plain).forward))
        watched = _watch_module(obj, tap)
    elif callable(obj) and not isinstance(obj, type):
        function = obj.__wrapped__ if isinstance(obj, WatchedFunction) else obj
        tap = Tap(session, spec, _declared(function))
        watched = WatchedFunction(function, tap)
    else:
        raise InputError(
            f"a loss, metric or signal is an nn.Module, a torchmetrics object or a function; "
            f"got {_described(obj)}"
        )
    session.registry.register("signals", spec.name, watched)
    if spec.name in session.signals.registry:
        session.signals.say_shared(spec.name)
    listen(session, tap)
    return watched


def _own_name(obj: Any) -> str:
    while isinstance(obj, functools.partial):
        obj = obj.func
    obj = getattr(obj, "_orig_mod", obj) if isinstance(obj, torch.nn.Module) else obj
    name = getattr(obj, "__name__", None)
    return (
        name
        if isinstance(name, str) and name != "<lambda>"
        else ("signal" if name == "<lambda>" else type(obj).__name__)
    )


def _described(obj: Any) -> str:
    if isinstance(obj, type):
        return f"the class {obj.__name__} itself: give an instance, {obj.__name__}(...)"
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


def _declared(function: Any) -> frozenset[str]:
    """Those of our call keywords that `function` has as parameters of its own."""
    try:
        return KEYWORDS & inspect.signature(function).parameters.keys()
    except (TypeError, ValueError):  # a builtin tells nothing
        return frozenset()


# ---------------------------------------------------------------- modules


class _BeforeForward:
    """Takes our keywords off a call before any other hook or `forward` sees them."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap

    def __call__(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        tap = self.tap
        if not (kwargs or tap.given):
            return None
        given, rest = tap.take(kwargs)
        if not torch.compiler.is_compiling():
            tap.remember(given)
        return None if rest is None else (args, rest)


class _AfterForward:
    """Records the result of a call and leaves it as it is."""

    def __init__(self, tap: Tap, source: LossSource | None) -> None:
        self.tap = tap
        self.source = source

    def __reduce__(self) -> tuple[type[_AfterForward], tuple[Tap, None]]:
        return (type(self), (self.tap, None))  # a copy records nothing, so it keeps no module

    def __call__(
        self,
        module: torch.nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> None:
        tap = self.tap
        tap.record(self.source, args, kwargs, result, tap.remembered() if tap.given else _NOTHING)


_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


def _watch_module(module: torch.nn.Module, tap: Tap) -> torch.nn.Module:
    watched = copy.copy(module)
    for name in _HOOKS:
        # Its own hooks: those of the original stay where they are, earlier ones of ours go.
        own = OrderedDict(getattr(module, name))
        watched.__dict__[name] = own
    _drop_ours(watched)
    watched.register_forward_pre_hook(_BeforeForward(tap), with_kwargs=True, prepend=True)
    watched.register_forward_hook(_AfterForward(tap, loss_source(watched)), with_kwargs=True)
    return watched


def _drop_ours(module: torch.nn.Module) -> None:
    for hooks in (vars(module)[_HOOKS[0]], vars(module)[_HOOKS[3]]):
        for key, hook in list(hooks.items()):
            if isinstance(hook, (_BeforeForward, _AfterForward)):
                for name in _HOOKS:
                    getattr(module, name).pop(key, None)


# ---------------------------------------------------------------- functions


class WatchedFunction:
    """A function that is called as ever; what it returns is also recorded."""

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], tap: Tap) -> None:
        functools.update_wrapper(self, function)
        self.tap = tap
        self._source = loss_source(function)

    def __reduce__(self) -> tuple[type[WatchedFunction], tuple[Callable[..., Any], Tap]]:
        return (type(self), (self.__wrapped__, self.tap))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; what it returns comes back as it is."""
        given, rest = self.tap.take(kwargs)
        kept: Mapping[str, Any] = kwargs if rest is None else rest
        result = self.__wrapped__(*args, **kept)
        self.tap.record(self._source, args, kept, result, given)
        return result

    def __getattr__(self, name: str) -> Any:
        # Only what is not found here: a callable object keeps its own attributes.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<watched {self.__wrapped__!r} as {self.tap.spec.name!r}>"
