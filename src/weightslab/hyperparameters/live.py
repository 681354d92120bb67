"""Edits of hyperparameters, applied to what is watched; what was asked beside what holds.

For the training thread, between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weightslab.hyperparameters.asleep import Asleep
from weightslab.hyperparameters.changes import MISSING, Change
from weightslab.hyperparameters.loaders import Resizable, resized
from weightslab.hyperparameters.names import FOLDER_KEYS, Meaning, Setting, meaning, nearest
from weightslab.hyperparameters.optimizers import Outcome, set_held, set_lr
from weightslab.hyperparameters.schedulers import unwrapped
from weightslab.hyperparameters.secrets import veiled
from weightslab.hyperparameters.values import Refusal, Value, number, valid, worded

__all__ = ["Live", "Standing", "Watched"]

IS_TRAINING = "is_training"


class Watched(Protocol):
    """What an edit reaches."""

    def optimizers(self) -> Mapping[str, Any]:
        """Watched optimizers by name."""

    def loaders(self) -> Mapping[str, Resizable]:
        """Watched loaders by name."""

    def train(self, is_training: bool) -> None:
        """Let training go on, or wait at this safe point."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One hyperparameter that was edited."""

    requested: Any
    """The value in the handle."""
    applied: Any
    """The value that what is watched has; `MISSING` where it had none."""
    step: int | None = None
    """Training updates completed when it was applied; None when it never was."""
    why: str | None = None
    """Why it is not applied, or what should be known although it is."""


class Live:
    """Applies edits, and knows of each what became of it.

    `say(key, message)` tells the user once for each key of a notice.
    """

    def __init__(self, watched: Watched, say: Callable[[tuple[str, ...], str], None]) -> None:
        self._watched = watched
        self._say = say
        self._standing: dict[str, Standing] = {}
        self._valid: dict[str, Any] = {}
        """The last value of a key that could be applied: what the next one is measured against."""
        self._followers: dict[tuple[str, Setting], frozenset[int]] = {}
        """Groups of an optimizer that took the last edit of a setting."""
        self._asleep: dict[int, tuple[Any, Asleep]] = {}
        """By optimizer: itself, and its learning rates before an edit made them 0."""
        self._awaited: dict[str, tuple[Any, list[Resizable]]] = {}
        """Keys of batch sizes: the size before, and the loaders that were asked."""
        self._set_by: dict[tuple[int, Setting], tuple[str, Value]] = {}
        """By optimizer: the key that set it in this round, and to what."""

    def apply(self, changes: Mapping[str, Change], step: int) -> None:
        """Apply what changed together to what takes it.

        Where several keys mean one object (`optimizer.lr: ${lr}`) it is set once, by the
        key with the longest prefix. The switch comes last, so that a pause finds it done.
        """
        self._set_by.clear()
        for key in sorted(changes, key=lambda key: (key == IS_TRAINING, -key.count("."))):
            self._apply(key, changes[key], step)

    def _apply(self, key: str, change: Change, step: int) -> None:
        optimizers, loaders = self._watched.optimizers(), self._watched.loaders()
        means = meaning(key, optimizers=optimizers, loaders=loaders)
        known = self._standing.get(key)
        applied = change.before if known is None else known.applied
        why: str | None = None
        when = None if known is None else known.step
        try:
            if means is None:
                near = nearest(key)
                hint = "" if near is None else f" (did you mean {near!r}?)"
                raise _NoTakerError(f"nothing watched takes it{hint}")
            after = valid(means.setting, change.after)
            before = self._before(key, means.setting, change)
            self._valid[key] = change.after
            if means.foreign is not None:
                raise _NoTakerError(f"{means.foreign!r} is nothing that is watched")
            why = self._set(key, means, before, after, change)
            applied, when = change.after, step
        except _NoTakerError as error:
            why = f"{error}; code that reads it from the handle sees it"
            if key not in FOLDER_KEYS:  # of which the session says more
                self._say((key, str(error)), f"hyperparameter {key}: {why}")
        except Refusal as error:
            why = str(error)
            value = "" if change.after is MISSING else f" = {worded(change.after)}"
            self._say((key, why), f"hyperparameter {key}{value} is not applied: {why}")
        except Exception as error:  # noqa: BLE001  # objects of the user's; others are edited still
            why = f"{type(error).__name__}: {error}"
            self._say((key, why), f"hyperparameter {key} is not applied, for an error: {why}")
        self._standing[key] = Standing(change.after, applied, when, why)

    def _before(self, key: str, setting: Setting, change: Change) -> Value | None:
        """The value that the objects were given last, as far as the handle knows."""
        try:
            return valid(setting, self._valid.get(key, change.before))
        except Refusal:
            return None

    def _set(
        self, key: str, means: Meaning, before: Value | None, after: Value, change: Change
    ) -> str | None:
        """Give a value to the objects that it means; gives what should be known of it.

        Raises:
            Refusal: no object took it.
        """
        if means.setting == IS_TRAINING:
            self._watched.train(bool(after))
            return None
        if means.setting == "batch_size":
            assert isinstance(after, int)
            loaders = self._watched.loaders()
            taken = resized(loaders, means.name, None if before is None else int(before), after)  # type: ignore[arg-type]
            former, waiting = self._awaited.get(key, (None, []))
            if not any(map(_waits, waiting)):
                former = change.before
            self._awaited[key] = (former, [loaders[name] for name in taken])
            return None
        outcomes = {
            name: self._once(key, name, optimizer, means.setting, before, after)
            for name, optimizer in self._optimizers(means.name)
        }
        if not outcomes:
            raise _NoTakerError("no optimizer is watched")
        refused = [
            f"{outcome.why} ({name!r})"
            for name, outcome in outcomes.items()
            if outcome.why is not None and not outcome.is_lacking
        ]
        if any(outcome.applied for outcome in outcomes.values()):
            if refused:
                self._say((key, *refused), f"hyperparameter {key}: {'; '.join(refused)}")
            return "; ".join(refused) or None
        lacking = [f"{outcome.why} ({name!r})" for name, outcome in outcomes.items()]
        raise Refusal("; ".join(refused or lacking))

    def _optimizers(self, name: str | None) -> list[tuple[str, Any]]:
        """Those that are meant, each once: one object may be watched under two names."""
        found: dict[int, tuple[str, Any]] = {}
        for one, optimizer in self._watched.optimizers().items():
            if name in (None, one):
                found.setdefault(id(unwrapped(optimizer)[-1]), (one, optimizer))
        return list(found.values())

    def _once(
        self,
        key: str,
        name: str,
        optimizer: Any,
        setting: Setting,
        before: Value | None,
        after: Value,
    ) -> Outcome:
        place = (id(unwrapped(optimizer)[-1]), setting)
        if place in self._set_by:
            other, value = self._set_by[place]
            same = value == after
            return Outcome(same, None if same else f"{other} sets it, to {value!r}")
        outcome = self._outcome(name, optimizer, setting, before, after)
        if outcome.applied:
            self._set_by[place] = (key, after)
        return outcome

    def _outcome(
        self, name: str, optimizer: Any, setting: Setting, before: Value | None, after: Value
    ) -> Outcome:
        try:
            if setting == "lr":
                assert isinstance(after, (int, float))
                return self._set_lr(optimizer, number(before), float(after))
            place = (name, setting)
            outcome = set_held(optimizer, setting, before, after, self._followers.get(place))
        except Exception as error:  # noqa: BLE001  # an optimizer may be of a class of the user's
            return Outcome(False, f"{type(error).__name__}: {error}")
        if outcome.applied:
            self._followers[place] = outcome.groups
        return outcome

    def _set_lr(self, optimizer: Any, before: float | None, after: float) -> Outcome:
        """Set it; groups that were frozen before the rate was 0 are so after it."""
        stepping = unwrapped(optimizer)[-1]
        owner, asleep = self._asleep.pop(id(stepping), (None, None))
        if after == 0 and before:
            self._asleep[id(stepping)] = (stepping, Asleep(optimizer, before))
        elif not before and after and asleep is not None and owner is stepping:
            before = asleep.before if asleep.wake(optimizer) else before
        return set_lr(optimizer, before, after)

    def describe(self) -> dict[str, dict[str, Any]]:
        """What was asked and what holds, of each key that was edited.

        A batch size holds once the next epoch has begun, or none is under way.
        """
        return {key: self._described(key, one) for key, one in self._standing.items()}

    def _described(self, key: str, standing: Standing) -> dict[str, Any]:
        applied, why = standing.applied, standing.why
        former, loaders = self._awaited.get(key, (None, []))
        if why is None and any(map(_waits, loaders)):
            applied, why = former, "from the next epoch on"
        return {
            "requested": veiled(key, _shown(standing.requested)),
            "applied": veiled(key, _shown(applied)),
            "step": standing.step,
            "why": why,
        }


def _waits(loader: Resizable) -> bool:
    """Whether a loader has a size that it takes with its next epoch."""
    return loader.current != loader.batch_size


class _NoTakerError(Refusal):
    """Nothing watched is meant."""


def _shown(value: Any) -> Any:
    return None if value is MISSING else value
