"""The hyperparameters of a session: one handle, and everybody who edits or hears of it."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from operator import is_
from typing import TYPE_CHECKING, Any

from weightslab.errors import InputError, StateError
from weightslab.hyperparameters.changes import Change, differences, differing, same
from weightslab.hyperparameters.file import YamlFile
from weightslab.hyperparameters.handle import (
    held_by,
    hyperparameters_handle,
    raw_tree,
    resolved_tree,
)
from weightslab.hyperparameters.mould import Edit, mould, tried
from weightslab.hyperparameters.names import FOLDER_KEYS
from weightslab.hyperparameters.paths import tree_of
from weightslab.hyperparameters.watcher import POLL_S, Watcher
from weightslab.notices import Notices

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["Hyperparameters", "Listener", "of_file"]

Listener = Callable[[dict[str, Change]], object]
"""Told of changes, by dotted key."""

_PATIENCE_S = 2.0
"""How long an edit waits for the training thread at least, before it is made without it."""
_LONGEST_S = 60.0


class Hyperparameters:
    """One handle, its sources and its listeners.

    The script reads and writes the handle as it likes. What comes from elsewhere (a file, a
    client) is tried on a copy where it arrives, and made by `take`, which the training thread
    calls between two steps: a step sees one version of them all. Where nobody takes (a loop
    without a safe point, a notebook, a training that ended or hangs: nobody for 2 s, and for
    three steps), an edit is made by whoever brings it.

    Args:
        handle: what the script holds.
        source: the file that it was made of.
        poll_interval_s: how often that is looked at.
        notices: where what went wrong is said and counted.
        now: seconds on a clock that never jumps.
    """

    def __init__(
        self,
        handle: DictConfig,
        *,
        source: YamlFile | None = None,
        poll_interval_s: float = POLL_S,
        notices: Notices | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.handle = handle
        self.source = source
        self.poll_interval_s = poll_interval_s
        self._watcher: Watcher | None = None
        self.listeners: list[Listener] = []
        self.told = False
        """Whether an edit came through us that nobody took yet."""
        self.when_told: Callable[[], None] = lambda: None
        """Called, on any thread, when `told` becomes true."""
        self.notices = Notices() if notices is None else notices
        self._now = now
        self._pid = os.getpid()
        self._waiting: deque[Edit] = deque()
        self._makers: dict[str, None] = {}
        """Who brought the edits that were made since somebody asked."""
        self._arrived_at = now()
        self._taker: int | None = None
        self._taken_at = float("-inf")
        self._pace_s = 0.0
        self._making = threading.Lock()
        """Held by whoever changes the handle for others."""
        self._editing = threading.Lock()
        """Held by whoever brings an edit, so that the next is tried on what this one leaves."""
        self._started: Callable[[], bool] = lambda: False
        self.version = 0
        """Grows with everything that is taken."""
        self._held = held_by(handle)
        self._raw = raw_tree(handle)
        self._taken, _ = resolved_tree(handle)

    def follow(self, started: Callable[[], bool]) -> None:
        """Begin to follow the file; `started` says whether the run folder has values."""
        self._started = started
        if self.source is not None and self._watcher is None:
            self._watcher = Watcher(self, self.poll_interval_s)

    def close(self) -> None:
        """Follow nothing any more; the handle stays as it is. A second call does nothing."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None and os.getpid() == self._pid:
            watcher.stop()

    def look(self, wait: Callable[[float], bool]) -> None:
        """Take up what was written to the file; for the thread that watches it."""
        data = None if self.source is None else self.source.settled(wait)
        if self.source is not None and data is not None:
            with self._editing:
                try:
                    edit = self.source.wanted(data)
                    if edit is not None:
                        tried(self.handle, (*self._waiting.copy(), edit))
                except InputError as error:
                    self.source.refuse(data, error)
                else:
                    if edit is not None:
                        self.source.accept(data)
                    if edit is not None and not same(edit.before, edit.after):
                        self._post(edit)
        self.make_overdue()

    @property
    def size(self) -> int:
        """Number of containers, keys and values: what a look at the handle costs."""
        return len(self._held)

    @property
    def written(self) -> Mapping[Any, Any]:
        """What was last taken, as it is written: with interpolations, and `???`."""
        return self._raw

    @property
    def taken(self) -> Mapping[Any, Any]:
        """What was last taken, with interpolations followed; any thread may read it."""
        return self._taken

    def take(self) -> dict[str, Change]:
        """What differs from what was last taken, by dotted key; waiting edits are made first.

        For the training thread, between two steps.
        """
        if os.getpid() != self._pid:  # a forked child, where a lock may be held for ever
            return {}
        now = self._now()
        if self._taker is not None:
            self._pace_s = now - self._taken_at
        self._taken_at, self._taker = now, threading.get_ident()
        self.told = False
        with self._making:
            self._make_waiting()
            held = held_by(self.handle)
            if len(held) == len(self._held) and all(map(is_, held, self._held)):
                self._makers = {}
                return {}
            raw = raw_tree(self.handle)
            self._held = held
            if same(raw, self._raw):
                self._makers = {}
                return {}
            resolved, _ = resolved_tree(self.handle)
            changes = differences(self._taken, resolved)
            self._raw, self._taken = raw, resolved
            self.version += 1
        self._say_too_late(changes)
        return changes

    def makers(self) -> tuple[str, ...]:
        """Who brought what was taken since the last call; the script itself is "training"."""
        makers, self._makers = self._makers, {}
        return tuple(makers) or ("training",)

    def _say_too_late(self, changes: Mapping[str, Change]) -> None:
        for key in FOLDER_KEYS & changes.keys():
            if self._started():
                self.notices.warn_once(
                    ("hyperparameter too late", key),
                    f"{key} was changed to {changes[key].after!r}, which cannot take effect any "
                    f"more: values are already written to the folder that it named before",
                )

    def tell(self, changes: dict[str, Change]) -> None:
        """Tell the listeners; one that raises is counted and said once."""
        for listener in list(self.listeners):
            try:
                listener(dict(changes))
            except Exception as error:  # noqa: BLE001  # a function of the user's
                name = getattr(listener, "__qualname__", type(listener).__qualname__)
                self.notices.warn_once(
                    ("hyperparameter listener", name),
                    f"on_change={name} failed, and training goes on: "
                    f"{type(error).__name__}: {error}",
                )

    def edit(
        self, changes: Mapping[str, Any], actor: str = "user", *, to_file: bool = True
    ) -> None:
        """Edit by dotted key, such as {"optimizer.lr": 0.01}; all of it, or nothing.

        On the training thread, or where nobody trains, it is made at once, else when the
        training thread takes it. Where a file is the source, it is written there first:
        scalars and items of lists in their place, so that comments stay; for anything else
        the file is written anew without comments, which is said. Without `to_file` the edit
        is one of this launch, and the file keeps what it says.

        Raises:
            UnknownOptionError: a key that is not there; the nearest one is named.
            InputError: types or flags of the config do not allow it, or the file cannot be
                written; nothing was changed.
        """
        if os.getpid() != self._pid:
            raise StateError("a forked process edits no hyperparameters: edit them in its parent")
        with self._editing:
            waiting = self._waiting.copy()
            before = tried(self.handle, waiting)
            edit = Edit({}, tree_of(resolved_tree(before)[0], changes), actor)
            after = tried(self.handle, (*waiting, edit))
            if self.source is not None and to_file:
                written = differing(raw_tree(before), raw_tree(after))
                self.source.write({path: change.after for path, change in written.items()})
            self._post(edit)
        if self._taker == threading.get_ident():
            self._make()
        else:
            self.make_overdue()

    def describe(self) -> dict[str, Any]:
        """Where they come from and what waits, for the status."""
        self.make_overdue()
        state: dict[str, Any] = {"source": "script", "waiting": len(self._waiting)}
        if self.source is not None:
            state |= {
                "source": str(self.source.path),
                "poll_interval_s": self.poll_interval_s,
                "file": self.source.state,
                "error": self.source.error,
                "errors": self.source.errors,
            }
        return state

    def make_overdue(self) -> None:
        """Make the edits that the training thread should have taken long ago."""
        patience_s = min(max(_PATIENCE_S, 3 * self._pace_s), _LONGEST_S)
        since = max(self._taken_at, self._arrived_at)
        if self._taker is None or self._now() - since > patience_s:
            self._make()

    def _post(self, edit: Edit) -> None:
        self._waiting.append(edit)
        self._arrived_at = self._now()
        self.told = True
        self.when_told()

    def _make(self) -> None:
        with self._making:
            self._make_waiting()

    def _make_waiting(self) -> None:
        """Make what waits, in order; what the handle does not allow any more is said."""
        while self._waiting:
            edit = self._waiting[0]
            try:
                tried(self.handle, [edit])
                self._makers[edit.actor] = None
                for key in mould(self.handle, edit):
                    self.notices.warn_once(
                        ("hyperparameter link", key),
                        f"{key} was a link to another hyperparameter, and is a value of its own "
                        f"since it was edited",
                    )
            except InputError as error:
                self.notices.warn_once(
                    ("hyperparameter edit", str(error)),
                    f"an edit of hyperparameters by {edit.actor} could not be made: {error}",
                )
            finally:
                self._waiting.popleft()


def of_file(
    path: str | os.PathLike[str],
    *,
    defaults: Mapping[str, Any] | None,
    poll_interval_s: float,
    notices: Notices,
) -> Hyperparameters:
    """Hyperparameters of a YAML file over `defaults`; nothing is followed yet.

    Raises:
        InputError: the file cannot be used, or is not there and there are no defaults.
    """
    under = None if defaults is None else hyperparameters_handle(defaults)
    source = YamlFile(path, None if under is None else raw_tree(under), notices)
    try:
        handle = hyperparameters_handle(source.tree, defaults=under)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from error
    return Hyperparameters(handle, source=source, poll_interval_s=poll_interval_s, notices=notices)
