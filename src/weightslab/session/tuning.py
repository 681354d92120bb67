"""Edits of hyperparameters and pauses: taken at safe points, applied, told, in the journal."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from weightslab.errors import WeightsLabError
from weightslab.hyperparameters.changes import MISSING, Change
from weightslab.hyperparameters.live import IS_TRAINING, Live
from weightslab.hyperparameters.loaders import Resizable
from weightslab.hyperparameters.secrets import veiled
from weightslab.hyperparameters.store import Hyperparameters
from weightslab.hyperparameters.values import text_of
from weightslab.ledger import Ledger
from weightslab.notices import Notices
from weightslab.session.control import Control
from weightslab.session.registry import Registry
from weightslab.types import Rows

__all__ = ["Tuning"]

_SMALL = 512
"""Containers, keys and values of a handle that is looked at before every step: in 0.1 ms."""
_SHARE = 0.005
"""Part of the training thread's time in which a larger one is looked at."""

_NO_SAMPLES: Rows = np.zeros(0, np.int32)


class Tuning:
    """What a session does with edits of its hyperparameters, and with pauses.

    `is_training` in the hyperparameters and `wl.pause` are one switch: each moves the
    other, so that the handle and `wl.status` never disagree for longer than a step. A pause
    is not written into a file of hyperparameters: the next launch is another one.

    Args:
        registry: the objects that edits reach.
        control: what pauses.
        notices: where what cannot be applied is said.
        ledger: the ledger whose journal this goes to; None while it is not open, or only read.
        step: training updates completed.
    """

    def __init__(
        self,
        registry: Registry,
        control: Control,
        notices: Notices,
        ledger: Callable[[], Ledger | None],
        step: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._control = control
        self._notices = notices
        self._ledger = ledger
        self._step = step
        self._hyperparameters: Hyperparameters | None = None
        self._live = Live(self, self._say)
        self._look_again_at = float("-inf")
        self._budget = _Budget()
        self._taking = threading.Lock()
        self._switching = threading.Lock()
        self._unwritten: deque[tuple[str, str, str]] = deque()
        """Entries (verb, value, actor) that wait for the ledger to be opened."""
        control.heard = self._enter
        registry.before = lambda: self.take(at_once=True)

    def begin(self, hyperparameters: Hyperparameters) -> None:
        """Follow these from now on; they hold as they stand."""
        self._hyperparameters = hyperparameters
        self._live = Live(self, self._say)
        hyperparameters.when_told = self._control.wake
        if hyperparameters.taken.get(IS_TRAINING) is False:
            self.train(False)
            self._say(
                (IS_TRAINING,),
                "is_training is false in the hyperparameters: training waits at its first safe "
                "point until it is true there, or somebody calls wl.resume()",
            )
        else:
            self._control.resume("hyperparameters", actor="training")

    # -- edits ---------------------------------------------------------------------

    def take(self, *, at_once: bool = False) -> None:
        """Take what was edited since the last time.

        The handle does not say when the script writes to it, and so is looked at before
        every step; less often where it is large, or changes with every step. What came
        through the session is taken at once. An error of ours is said, and never raised.
        """
        if self._unwritten:
            self._write()
        found = self._hyperparameters
        if found is None:
            return
        at_once = at_once or found.told
        began = time.monotonic()
        if not at_once and (began < self._look_again_at or self._budget.is_spent(began)):
            return
        if not self._taking.acquire(blocking=False):
            return  # a listener that asks for the hash, or another thread that registers
        try:
            changes = found.take()
            if found.size > _SMALL:
                ended = time.monotonic()
                self._look_again_at = ended + (ended - began) / _SHARE
            if changes:
                self._enter("hyperparameters", _as_json(changes), ", ".join(found.makers()))
                self._live.apply(changes, self._step())
                found.tell(changes)
                if not at_once:
                    self._spend(changes, began)
        except Exception as error:  # noqa: BLE001  # values may be objects of the user's
            self._notices.warn_once(
                ("hyperparameters", type(error).__name__),
                f"edits of hyperparameters do not take effect, and training goes on: "
                f"{type(error).__name__}: {error}",
            )
        finally:
            self._taking.release()

    def _spend(self, changes: Mapping[str, Change], now: float) -> None:
        if self._budget.spend(now):
            return
        self._say(
            ("with every step",),
            f"{', '.join(map(repr, list(changes)[:3]))} change with every step, and each change of "
            f"hyperparameters opens a new experiment hash: from now on they are taken "
            f"{_Budget.A_SECOND} times a second. Keep counters out of them, and let a scheduler "
            f"drive the learning rate",
        )

    def optimizers(self) -> Mapping[str, Any]:
        """Watched optimizers by name."""
        return dict(self._registry.optimizers)

    def loaders(self) -> Mapping[str, Resizable]:
        """Watched loaders by name."""
        watched = {
            name: getattr(getattr(loader, "weightslab", None), "sizing", None)
            for name, loader in dict(self._registry.loaders).items()
        }
        return {name: sizing for name, sizing in watched.items() if sizing is not None}

    # -- the switch ------------------------------------------------------------------

    def train(self, is_training: bool) -> None:
        """Do what `is_training` says now."""
        if is_training:
            for reason in ("hyperparameters", "user"):
                self._control.resume(reason, actor="training")
        elif "user" not in self._control.reasons:
            self._control.pause("hyperparameters", actor="training")

    def pause(self, reason: str = "user") -> None:
        """Let training stop at its next safe point."""
        with self._switching:
            self._control.pause(reason)
            if reason == "user":
                self._write_back(False)

    def resume(self) -> None:
        """Let training go on, whatever paused it."""
        with self._switching:
            self._control.resume()
            self._write_back(True)

    def _write_back(self, is_training: bool) -> None:
        """Let the hyperparameters say what was just done, where they speak of it."""
        found = self._hyperparameters
        if found is None or IS_TRAINING not in found.taken:
            return
        try:
            # Not into a file: the next launch would begin as this one was left.
            found.edit({IS_TRAINING: is_training}, actor="user", to_file=False)
        except WeightsLabError as error:
            self._say((IS_TRAINING, "fixed"), f"is_training keeps its value: {error}")

    # -- journal ---------------------------------------------------------------------

    def _enter(self, verb: str, value: str, actor: str) -> None:
        """Write an entry into the journal, or keep it until there is one."""
        self._unwritten.append((verb, value, actor))
        self._write()

    def _write(self) -> None:
        ledger = self._ledger()
        if ledger is None:
            return
        try:
            while self._unwritten:
                verb, value, actor = self._unwritten.popleft()
                ledger.edit.enter(verb, None, value, _NO_SAMPLES, actor=actor)
        except IndexError:  # another thread wrote the last one
            return
        except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
            self._notices.warn_once(
                ("journal", type(error).__name__),
                f"an edit is not in the journal, and training goes on: {error}",
            )

    def _say(self, key: tuple[str, ...], message: str) -> None:
        self._notices.warn_once(("hyperparameters", *key), message)

    def describe(self) -> dict[str, Any] | None:
        """Source of the hyperparameters, what waits, and what became of each edit."""
        found = self._hyperparameters
        return None if found is None else found.describe() | {"edits": self._live.describe()}


class _Budget:
    """How often the script's own writes may be taken: many at once, few a second in the long run.

    Each costs an entry in the journal, a hash, and a search for schedulers.
    """

    AT_ONCE = 16
    A_SECOND = 4

    def __init__(self) -> None:
        self._left = float(self.AT_ONCE)
        self._counted_at = float("-inf")

    def is_spent(self, now: float) -> bool:
        """Whether none may be taken now."""
        return self._left < 1 and self._left + (now - self._counted_at) * self.A_SECOND < 1

    def spend(self, now: float) -> bool:
        """Take one; whether more are left."""
        gained = (now - self._counted_at) * self.A_SECOND
        self._left = min(self._left + gained, self.AT_ONCE) - 1
        self._counted_at = now
        return self._left >= 1


def _as_json(changes: Mapping[str, Change]) -> str:
    """Changes as `{dotted key: [before, after]}`, in strict JSON; secrets as `***`."""
    pairs = {
        key: [_plain(veiled(key, one.before)), _plain(veiled(key, one.after))]
        for key, one in changes.items()
    }
    return json.dumps(pairs, default=text_of)


def _plain(value: Any) -> Any:
    if value is MISSING:
        return {"missing": True}
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
