"""`request_evaluation`, `run_pending_evaluation` and `eval_fn`: a pass over any watched loader."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from weightslab.api.arguments import check_name, check_takes_one
from weightslab.errors import InputError
from weightslab.export.naming import names
from weightslab.session import current, guard_worker
from weightslab.session.evaluating import Given

__all__ = ["eval_fn", "request_evaluation", "run_pending_evaluation"]

Function = TypeVar("Function", bound=Callable[..., Any])

_NOT_GIVEN = object()


def request_evaluation(
    loader_name: str, tags: Iterable[str] | str | None = None, *, timeout: float | None = None
) -> int:
    """Ask for an evaluation of a watched loader. The call returns at once.

    It runs at the next safe point of training (a batch of a watched training loader, a step
    of a watched optimizer), in `keep_serving`, or in `run_pending_evaluation` where a loop
    calls that; where no training is under way, on a thread of its own after two seconds.
    One that is not taken for 30 seconds is said, with what to do. Training is paused
    meanwhile, and goes on by itself afterwards.

    What watched losses and metrics and `save_signals` record in it stands under the current
    experiment hash with the number of the evaluation, `<hash>_1`, and on the training's own
    curves not at all: per sample, and on the curve the mean over the samples. A line on
    standard output says the result. One that raises is reported as failed, and leaves no
    values.

    Args:
        loader_name: the name that the loader is watched by; "val" also finds "val_loader".
        tags: only samples that have one of these tags. None: every sample.
        timeout: seconds that the pass may take; then it has failed. None: any time.

    Returns:
        The number of the request, by which `wl.status()["evaluation"]` speaks of it.

    Raises:
        UnknownOptionError: no such loader is watched.
        ReadOnlyError: the session was opened with mode="r".
        InputError: a name that is no text, tags without a tag in them, or a timeout that is
            no number above 0.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> @wl.eval_fn
        ... def scored(loader):
        ...     for numbers, names, ids in loader:
        ...         wl.save_signals({"score": numbers}, ids)
        >>> loader = wl.watch_or_edit([(1.0, "a"), (2.0, "b")], flag="data", loader_name="val")
        >>> wl.request_evaluation("val")
        1
        >>> wl.run_pending_evaluation()
        [WeightsLab] Evaluation 'val' @ step 0 — score=1.5000
        True
    """
    guard_worker("request_evaluation")
    check_name(loader_name, "loader_name")
    chosen = None if tags is None else tuple(names(tags, "tags") or ())
    if chosen is not None and not all(chosen):
        chosen = ()
    if chosen == ():
        raise InputError(f"tags names at least one tag, or is None for every sample; got {tags!r}")
    if timeout is not None and not (
        isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0
    ):
        raise InputError(f"timeout is a number of seconds above 0, or None; got {timeout!r}")
    return current().evaluations.request(loader_name, chosen, timeout_s=timeout)


def run_pending_evaluation(
    loaders: Any = None,
    model: Any = None,
    eval_fn: Callable[[Any], Any] | None = None,
    device: Any = None,
) -> bool:
    """Run the evaluation that waits longest, if one does, here and now.

    For the top of every iteration of a training loop; from the first call on such a loop
    alone takes requests while it trains, and watched loaders and optimizers do not. The
    call never waits for a pause to end.

    Every argument may be left out where the object is watched.

    Args:
        loaders: the loader to evaluate, or loaders by name, in place of the watched ones.
            One that is not watched is iterated as it is.
        model: in place of the watched model.
        eval_fn: in place of the function that `wl.eval_fn` decorated; called with the loader.
        device: where the default function brings batches. None: where the model is.

    Returns:
        True when an evaluation ran, also when it failed or was cancelled meanwhile (it is
        reported as that, and nothing is raised): `continue` with the next batch. False when
        none waited, and in a dynamic signal, which is computed beside the training.

    Raises:
        InputError: `loaders` that are no loaders, a `model` or an `eval_fn` that cannot be
            called, a `device` that torch does not know.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.run_pending_evaluation()
        False
    """
    guard_worker("run_pending_evaluation")
    by_name: Mapping[str, Any] = {}
    one = None
    if isinstance(loaders, Mapping):
        by_name = loaders
        for name in loaders:
            check_name(name, "the name of a loader in loaders")
    elif loaders is not None:
        one = loaders
    for loader in (*by_name.values(), *(() if one is None else (one,))):
        if isinstance(loader, (str, bytes)) or not hasattr(loader, "__iter__"):
            raise InputError(
                f"loaders is a loader, or loaders by name; got {type(loader).__name__} "
                f"{loader!r:.60}, which gives no batches"
            )
    if model is not None and (not callable(model) or isinstance(model, type)):
        raise InputError(f"model is an nn.Module, or a function of the inputs; got {model!r:.60}")
    if device is not None:
        from weightslab.capture.model import checked_device  # torch

        device = checked_device(device)
    if eval_fn is not None:
        _check_function(eval_fn)
    return current().evaluations.run_pending(Given(by_name, one, model, eval_fn, device))


@overload
def eval_fn(function: Function) -> Function: ...


@overload
def eval_fn() -> Callable[[Function], Function]: ...


def eval_fn(function: Any = _NOT_GIVEN) -> Any:
    """Let this function evaluate, in place of the default one; the last decorated one does.

    It is called with one argument, a loader whose batches are those of the loader that was
    asked for, in order. It counts the progress, and ends the loop by an error when the
    evaluation is cancelled or takes too long: let that pass. Model modes, gradients and
    random numbers are as before when the function has returned.

    Raises:
        InputError: what is decorated cannot be called with a loader, or is a generator or a
            coroutine, whose lines would not run.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> @wl.eval_fn
        ... def scored(loader):
        ...     for batch in loader:
        ...         ...
    """
    guard_worker("eval_fn")
    if function is _NOT_GIVEN:
        return eval_fn
    _check_function(function)
    current().evaluations.eval_fn = function
    return function


def _check_function(function: object) -> None:
    late = inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)
    if not callable(function) or isinstance(function, type) or late:
        raise InputError(
            f"an evaluation function is a function of one argument, the loader; got "
            f"{type(function).__name__} {function!r:.60}: write @wl.eval_fn above "
            f"`def evaluate(loader): ...`, without yield or async"
        )
    check_takes_one(function, "an evaluation function", "the loader")
