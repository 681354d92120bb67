"""The one owner of a process's state: ledger, registry, clock, current batch."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from weightslab.errors import InputError, StateError, UnknownOptionError
from weightslab.hyperparameters.store import Hyperparameters
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.notices import Notices
from weightslab.progress import Work
from weightslab.queries.lookup import id_texts
from weightslab.queries.names import origin_spellings
from weightslab.session import slot
from weightslab.session.batches import CurrentBatch
from weightslab.session.clock import StepClock
from weightslab.session.control import Control
from weightslab.session.evaluations import Evaluations
from weightslab.session.experiment import leave_marker
from weightslab.session.folder import RunFolder, folder_path
from weightslab.session.naming import Naming
from weightslab.session.recording import Recording
from weightslab.session.registry import Registry
from weightslab.session.resolve import look_up_rows, resolve_rows
from weightslab.session.training import Training
from weightslab.session.tuning import Tuning
from weightslab.signals.firing import Firing
from weightslab.signals.signals import Signals
from weightslab.types import BatchIds, Rows

__all__ = ["Session"]

_MODES = ("r", "w")


class Session:
    """State of one run: everything that the module-level verbs act on.

    The verbs make a session when they first need one; the explicit form names the
    folder and ends with the block::

        with wl.Session("runs/a") as session:
            ...

    Nothing is opened before the first value, tag or query.

    Args:
        root_log_dir: the run folder. Without it: `root_log_dir` of the hyperparameters,
            the environment variable WEIGHTSLAB_ROOT_LOG_DIR, then
            `./weightslab_runs/<experiment_name>`.
        mode: "w" to write and read, "r" to look at a folder without changing it.
        options: how the ledger writes.

    Raises:
        InputError: a folder that is no name or path, or another mode.
        FolderError: on first use, when mode "r" finds no ledger.
    """

    def __init__(
        self,
        root_log_dir: str | os.PathLike[str] | None = None,
        *,
        mode: Literal["r", "w"] = "w",
        options: LedgerOptions | None = None,
    ) -> None:
        if mode not in _MODES:
            raise UnknownOptionError("mode", mode, _MODES)
        self.notices = Notices()
        self.registry = Registry()
        self.batches = CurrentBatch(lambda: self.clock.age)
        self.training = Training(self)
        self.clock = StepClock(self.training.step_by_hand, lambda: self.batches.step)
        self.process_id = os.getpid()
        self.rank: int | None = None
        """This process among those that train together; None: what the environment says."""
        self._folder = RunFolder(root_log_dir)
        self._mode: Literal["r", "w"] = mode
        self._options = options
        self._ledger: Ledger | None = None
        self._lock = threading.RLock()
        self._closed = False
        self._entered = False
        self._previous: slot.Held | None = None
        self.naming = Naming(self)
        self.hyperparameters: Hyperparameters | None = None
        self.control = Control()
        self.tuning = Tuning(
            self.registry,
            self.control,
            self.notices,
            lambda: self._ledger if self._mode == "w" else None,
            lambda: self.clock.age,
        )
        self.recording = Recording(lambda: self.ledger)
        self.signals = Signals(
            lambda: self.ledger,
            lambda: self._ledger,
            self.notices,
            origin=self._origin_of_batch,
            acting=partial(slot.acting, self),
            listen=self.recording.listen,
        )
        self.evaluations = Evaluations(self)
        self.work = Work()

    # -- life -----------------------------------------------------------------

    def __enter__(self) -> Self:
        """Make this the session that the module-level verbs act on.

        Raises:
            StateError: it was entered already, or is closed.
        """
        with self._lock:
            if self._entered or self._closed:
                state = "is closed" if self._closed else "was entered already"
                raise StateError(f"this session {state}: make a new one with wl.Session(...)")
            self._entered = True
        self._previous = slot.swap(self)
        if isinstance(self._previous, Session):
            self._inherit(self._previous)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        slot.swap(self._previous)
        self.close()

    def heir(self) -> Session:
        """A session made as this one was, for a forked child."""
        heir = Session(self._folder.explicit, mode=self._mode, options=self._options)
        heir._inherit(self)
        return heir

    def _inherit(self, former: Session) -> None:
        """Take over what was decorated before this session."""
        self.signals.inherit(former.signals)
        self.evaluations.eval_fn = self.evaluations.eval_fn or former.evaluations.eval_fn

    def close(self) -> None:
        """Write everything out and let the folder go. A second call does nothing.

        Signals that are still to be computed are: for a minute at most. A training that
        goes on in another thread is no longer paused, and its values are not recorded.
        """
        own = self.process_id == os.getpid()
        try:
            if self.hyperparameters is not None:
                self.hyperparameters.close()
            if own:
                self.evaluations.close()
                self.signals.close()
        finally:
            self.control.end()
            with self._lock:
                self._closed = True
                ledger = self._ledger
                self.registry.let_go()
            if ledger is not None and own:
                ledger.close()

    def flush(self) -> None:
        """Turn everything that was saved so far into Parquet files, now."""
        self.settled().flush()

    @property
    def mode(self) -> Literal["r", "w"]:
        """Whether this session writes, or only looks."""
        return self._mode

    @property
    def open_ledger(self) -> Ledger | None:
        """The ledger, if somebody needed it already."""
        return self._ledger

    @property
    def ledger(self) -> Ledger:
        """The run folder's ledger, opened when it is first needed."""
        ledger = self._ledger
        if ledger is None:
            ledger = self._open()
        if not self.registry.attached:
            with self._lock:
                self.registry.attach_sources()
        return ledger

    def settled(self) -> Ledger:
        """The ledger as a reading verb takes it: with all that signals have done by now.

        Waits for them, but not for ever; see `Signals.drain`.
        """
        self.signals.drain()
        ledger = self.ledger
        if (firing := Firing.current(ledger)) is not None:
            firing.apply()
        return ledger

    def _open(self) -> Ledger:
        with self._lock:
            if self._ledger is None:
                if self._closed:
                    raise StateError("this session is closed: make a new one with wl.Session(...)")
                # Absolute: scripts (and Hydra) change the working directory later.
                ledger = Ledger(
                    self._folder.root(self.registry.hyperparameters).absolute(),
                    mode=self._mode,
                    rank=int(os.environ.get("RANK", "0")) if self.rank is None else self.rank,
                    options=self._options,
                    notices=self.notices,
                )
                if self._mode == "w":
                    ledger.edit.step = lambda: self.clock.age
                self._ledger = ledger
                slot.close_at_exit(self)
                if self._mode == "w":
                    leave_marker(ledger)
                    self.naming.refresh()
            return self._ledger

    # -- folder and name ---------------------------------------------------------

    @property
    def folder(self) -> RunFolder:
        """Who named the run folder."""
        return self._folder

    @property
    def root_log_dir(self) -> Path | None:
        """The run folder; None while nothing names or uses one."""
        if self._ledger is not None:
            return self._ledger.root
        handle = self.registry.hyperparameters
        return self._folder.named(handle) if handle is None else self._folder.root(handle)

    def name_folder(self, log_dir: str | os.PathLike[str]) -> None:
        """Let a logger's `log_dir` be the run folder, unless something stronger names it.

        Raises:
            InputError: values are already written elsewhere, or it names no folder.
        """
        folder = folder_path(log_dir, "log_dir")
        self._check_root(folder)
        self._folder.logger = folder

    def register_hyperparameters(
        self, hyperparameters: Hyperparameters, root: str | os.PathLike[str] | None = None
    ) -> None:
        """Take up hyperparameters; `root_log_dir` and `experiment_name` in them name the folder.

        `root` is the run folder as an argument, and stronger than what stands in them.

        Raises:
            InputError: values are already written elsewhere, or the name cannot be read or
                cannot be that of a folder; nothing was registered.
        """
        folder = RunFolder(self._folder.explicit)
        folder.argument = (
            self._folder.argument if root is None else folder_path(root, "root_log_dir")
        )
        folder.logger = self._folder.logger
        handle = hyperparameters.handle
        wanted = folder.root(handle)
        if folder.named(handle) is not None:
            self._check_root(wanted)
        self._folder = folder
        former, self.hyperparameters = self.hyperparameters, hyperparameters
        self.registry.register_hyperparameters(handle)
        if former is not None:
            former.close()
        hyperparameters.follow(lambda: self._ledger is not None)
        self.tuning.begin(hyperparameters)

    def _check_root(self, wanted: Path) -> None:
        if self._ledger is not None and self._folder.explicit is None:
            here = self._ledger.root
            if here.resolve() != wanted.resolve():
                raise InputError(
                    f"this session already writes to {here}, and {wanted} was named now: name the "
                    f"folder before the first value, or use `with wl.Session({str(wanted)!r}):`"
                )

    # -- training --------------------------------------------------------------------

    @property
    def experiment_hash(self) -> str | None:
        """Name of the current state of the experiment; None until something names one."""
        return self.naming.hash

    def safe_point(self) -> None:
        """The top of a training step; see `Training.safe_point`."""
        self.training.safe_point()

    def pause(self, reason: str = "user") -> None:
        """Let training stop at its next safe point."""
        self.tuning.pause(reason)

    def resume(self) -> None:
        """Let training go on, whatever paused it."""
        self.evaluations.resumed()
        self.tuning.resume()

    def say_failed(self, what: str, error: Exception) -> None:
        """Say once what an error of ours has cost a training that goes on."""
        self.notices.warn_once(
            ("safe point", type(error).__name__),
            f"{what}, and training goes on: {type(error).__name__}: {error}",
        )

    # -- what is watched ------------------------------------------------------------------

    @property
    def model(self) -> Any:
        """The watched model as it stands now; of several, the one that has no other name.

        Raises:
            StateError: there is none.
        """
        models = self.registry.models
        if "model" not in models and len(models) != 1:
            names = ", ".join(map(repr, models)) or "none"
            raise StateError(
                f"no model is watched without a name of its own (there are: {names}): "
                f"wl.watch_or_edit(model, flag='model')"
            )
        return models["model"] if "model" in models else next(iter(models.values()))

    def loader(self, name: str) -> Any:
        """The watched loader of that name as it stands now; "train" also finds "train_loader".

        Raises:
            UnknownOptionError: there is none.
        """
        loaders = self.registry.loaders
        for spelling in (name, *sorted(origin_spellings(name))):
            if spelling in loaders:
                return loaders[spelling]
        raise UnknownOptionError("loader", name, loaders)

    # -- ids ------------------------------------------------------------------------------

    def resolve(self, ids: Any, *, batch: BatchIds | None) -> Rows:
        """Rows of ids that come with values; new ids become samples of the batch's origin.

        Raises:
            InputError: something that is neither a string nor a whole number.
        """
        return resolve_rows(self.ledger, ids, batch, self.home)

    @property
    def home(self) -> str:
        """The split that a bare id means: that of the current batch, else the first."""
        batch = self.batches.current
        return next(iter(self.registry.loaders), "train") if batch is None else batch.origin

    def _origin_of_batch(self) -> str | None:
        batch = self.batches.current
        return None if batch is None else batch.origin

    def look_up(self, ids: Any) -> tuple[Rows, list[str]]:
        """Rows of ids in a verb, and the ids that nobody knows.

        The very object that stood in a batch means that batch's samples.
        """
        held = self.batches.holding(ids)
        if held is not None and held.batch is not None:
            return held.batch.rows, []
        return look_up_rows(self.ledger, id_texts(ids), self.home)

    def status(self) -> dict[str, Any]:
        """Where values go, what waits, what was dropped or failed."""
        state: dict[str, Any] = {
            "step": self.clock.age,
            "paused": self.control.paused,
            "pause_reasons": list(self.control.reasons),
            "waiting": self.control.waiting,
            "work": self.work.status(),
            "signals": self.signals.status(),
            "evaluation": self.evaluations.status(),
            "notices": self.notices.counts(),
        }
        if (edited := self.tuning.describe()) is not None:
            state["hyperparameters"] = edited
        if self._ledger is not None:
            state |= self._ledger.status()
        return state
