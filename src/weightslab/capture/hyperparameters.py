"""Hyperparameters that are watched: what may be given, and what the session gets of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightslab.errors import InputError
from weightslab.hyperparameters.handle import hyperparameters_handle
from weightslab.hyperparameters.store import Hyperparameters, Listener, of_file
from weightslab.hyperparameters.watcher import POLL_S, checked_interval

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["OPTIONS", "watch_hyperparameters"]

OPTIONS = frozenset(
    {"name", "defaults", "poll_interval", "on_change", "log_dir", "root_log_dir"}
)  # fmt: skip


def watch_hyperparameters(
    session: Session,
    obj: Any,
    *,
    obj_name: str | None,  # noqa: ARG001  # there is one set of them
    name: str | None = None,  # noqa: ARG001
    defaults: Mapping[str, Any] | None = None,
    poll_interval: float | None = None,
    on_change: Listener | None = None,
    log_dir: Any = None,
    root_log_dir: Any = None,
) -> Any:
    """Register hyperparameters with `session`; gives the handle.

    Raises:
        InputError: what came is no set of hyperparameters, or an option does not fit it.
    """
    if on_change is not None and not callable(on_change):
        raise InputError(
            f"on_change is a function of a dict of changes, got {type(on_change).__qualname__}"
        )
    if isinstance(obj, (str, os.PathLike)):
        interval_s = POLL_S if poll_interval is None else checked_interval(poll_interval)
        hyperparameters = of_file(
            obj, defaults=defaults, poll_interval_s=interval_s, notices=session.notices
        )
    elif poll_interval is not None:
        raise InputError("poll_interval is for a file of hyperparameters; these are a dict")
    else:
        hyperparameters = Hyperparameters(
            hyperparameters_handle(obj, defaults=defaults), notices=session.notices
        )
    if on_change is not None:
        hyperparameters.listeners.append(on_change)
    session.register_hyperparameters(
        hyperparameters, root_log_dir if root_log_dir is not None else log_dir
    )
    return hyperparameters.handle
