"""`pause`, `resume`, `status` and `keep_serving`: the training as a whole."""

from __future__ import annotations

from typing import Any

from weightslab.errors import InputError
from weightslab.session import current, current_or_none, guard_worker

__all__ = ["keep_serving", "pause", "resume", "status"]


def pause() -> None:
    """Let training stop at its next safe point, until somebody calls `resume`.

    Safe points are the batches of watched training loaders and, where no such loader is
    watched, the steps of watched optimizers. The thread that trains waits there, and does
    meanwhile what it is asked for: evaluations, edits of hyperparameters.

    Hyperparameters with an `is_training` say the same: `pause` makes it false there, and
    `is_training: false` in them pauses.

    Raises:
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.pause()
        >>> wl.status()["paused"]
        True
        >>> wl.resume()
    """
    guard_worker("pause")
    current().pause()


def resume() -> None:
    """Let training go on, whatever paused it: a call, an evaluation or `is_training`.

    Hyperparameters with an `is_training` have it true afterwards.

    Raises:
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.resume()
    """
    guard_worker("resume")
    current().resume()


def status() -> dict[str, Any]:
    """What the run is doing: step, pause, folder, what waits, what was dropped or failed.

    Returns:
        `step` (updates completed), `paused` and `pause_reasons`, `waiting` (the training
        thread stands at a safe point), `work` (how far `compute_signals` is: `label`, `done`,
        `total`), `signals` (`waiting`, the batches of values that still fire some; batches
        `dropped` and values `failed`, by the name of the signal; `unheard`, the signals that
        have met no value yet of what they subscribe to, with its name; `history_bytes`, the
        memory of what they read), `hyperparameters` once there
        are any (their source; in `edits`, for each key that was edited, what is `requested`
        and what `applied`, since which `step`, and `why` not), `evaluation` (`pending`,
        `running` with how many batches are `done` of `total`, `last` with its results or its
        error), `notices` (number of each kind of event), and, once the run folder is open,
        what is said of that: its `root`, `samples`, `experiment_hash`, rows that wait for
        their files, and the memory of arrays.

    Raises:
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.status()["step"]
        0
    """
    guard_worker("status")
    return current().status()


def keep_serving(timeout: float | None = None) -> None:
    """Keep the process alive, so that it goes on answering and doing what it is asked for.

    A safe point of its own: pending evaluations and edits happen here, except while a training
    is under way on another thread, which has its own.

    Args:
        timeout: seconds after which the call returns; None: until Ctrl-C, which ends the
            call and not the script.

    Raises:
        InputError: a timeout that is no number of seconds from 0.
        StateError: called in a dynamic signal.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.keep_serving(timeout=0.01)
    """
    guard_worker("keep_serving")
    if timeout is not None and not (
        isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout >= 0
    ):
        raise InputError(f"timeout is a number of seconds from 0, or None; got {timeout!r}")
    session = current_or_none() or current()
    session.training.keep_serving(timeout)
