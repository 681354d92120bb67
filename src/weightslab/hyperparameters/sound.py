"""What an edit from outside may not do: code of the training reads the handle while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import dotted, same
from weightslab.hyperparameters.names import meaning
from weightslab.hyperparameters.values import Refusal, valid, worded

__all__ = ["check_sound"]


def check_sound(
    before: Mapping[Any, Any], after: Mapping[Any, Any], above: tuple[Any, ...] = ()
) -> None:
    """Refuse what would end a training that reads `hp.optimizer.lr`, or computes with it.

    Both with interpolations followed. A slip such as `optimizer: lr= 0.1` makes text of a
    section, and `lr: fast` of a number; neither is what anybody wants in the middle of a run.

    Raises:
        InputError: a section became a value, or a setting that could be applied became
            one that cannot.
    """
    for key, old in before.items():
        if key not in after:
            continue
        new, path = after[key], (*above, key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            check_sound(old, new, path)
        elif isinstance(old, Mapping) and old:
            raise InputError(
                f"{dotted(path)}: expected `key: value` lines under it as before, got {worded(new)}"
            )
        elif not same(old, new):
            _check_setting(dotted(path), old, new)


def _check_setting(key: str, old: Any, new: Any) -> None:
    means = meaning(key)
    if means is None:
        return
    try:
        valid(means.setting, old)
    except Refusal:
        return
    try:
        valid(means.setting, new)
    except Refusal as error:
        raise InputError(f"{key}: {error}") from None
