"""The one owner of a process's state: ledger, registry, clock, current batch."""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from weightslab.checkpoints.identity import plain_hash
from weightslab.errors import InputError, StateError, UnknownOptionError
from weightslab.evaluation.controller import Taker
from weightslab.hyperparameters.store import Hyperparameters
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.notices import Notices
from weightslab.progress import Work
from weightslab.queries.lookup import find_rows, id_texts
from weightslab.queries.names import origin_spellings
from weightslab.session import slot
from weightslab.session.batches import CurrentBatch
from weightslab.session.clock import StepClock
from weightslab.session.control import Control
from weightslab.session.evaluations import Evaluations
from weightslab.session.experiment import Experiment, leave_marker
from weightslab.session.folder import RunFolder, folder_path
from weightslab.session.recording import Recording
from weightslab.session.registry import Registry
from weightslab.session.resolve import resolve_rows
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
        self.clock = StepClock(self._step_by_hand, lambda: self.batches.step)
        self.process_id = os.getpid()
        self._folder = RunFolder(root_log_dir)
        self._mode: Literal["r", "w"] = mode
        self._options = options
        self._ledger: Ledger | None = None
        self._lock = threading.RLock()
        self._closed = False
        self._entered = False
        self._previous: slot.Held | None = None
        self.experiment = Experiment()
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
        self._training = False
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

        Signals that are still to be computed are: for a minute at most.
        """
        own = self.process_id == os.getpid()
        try:
            if self.hyperparameters is not None:
                self.hyperparameters.close()
            if own:
                self.evaluations.close()
                self.signals.close()
        finally:
            with self._lock:
                self._closed = True
                ledger = self._ledger
            if ledger is not None and own:
                ledger.close()

    def flush(self) -> None:
        """Turn everything that was saved so far into Parquet files, now."""
        self.settled().flush()

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
                    rank=int(os.environ.get("RANK", "0")),
                    options=self._options,
                    notices=self.notices,
                )
                if self._mode == "w":
                    ledger.edit.step = lambda: self.clock.age
                self._ledger = ledger
                slot.close_at_exit(self)
                if self._mode == "w":
                    leave_marker(ledger)
                    self._name_experiment()
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

    # -- experiment hash ------------------------------------------------------------

    @property
    def experiment_hash(self) -> str | None:
        """Name of the current state of the experiment; None until something names one."""
        if self._mode == "r":
            found = self.ledger.experiment_hash
            return None if found is None else plain_hash(found)
        if not self._training:
            if self._ledger is None and self._is_run():
                self._open()
            self._name_experiment()
        return self.experiment.hash

    def _is_run(self) -> bool:
        """Whether the folder that somebody named holds a run already."""
        folder = self._folder.named(self.registry.hyperparameters)
        return folder is not None and (folder / "ledger.json").exists()

    def _name_experiment(self) -> None:
        """Open a new hash when hyperparameters, architecture or discards have changed."""
        if self._looks_on():
            return
        named = self._folder.explicit is not None or self._folder.logger is not None
        if self._ledger is not None and self._ledger.experiment_hash is not None:
            named = True  # an evaluation did, or an earlier launch
        if named or self.registry.hyperparameters is not None:
            try:
                current = self.experiment.is_current(self.registry, self._ledger)
                if current and not self.tuning.is_ahead:
                    return
                self.tuning.take(at_once=True)  # a hash never names what is not applied
                self.tuning.is_ahead = False
                with self._lock:
                    self.experiment.follow(self.registry, self._ledger)
            except Exception as error:  # noqa: BLE001  # it reads objects of the user's
                self._say_failed("the experiment hash stays as it was", error)

    def named_hash(self) -> str:
        """The experiment hash, for an evaluation: where nothing names one, this does.

        Results need a hash that their marker belongs to. From here on the session keeps it
        up to date, as if hyperparameters were watched.
        """
        ledger = self.ledger
        found = self.experiment_hash
        if found is None:
            with self._lock:
                self.experiment.follow(self.registry, ledger)
            found = self.experiment.hash
            assert found is not None
        return found

    def _looks_on(self) -> bool:
        """Whether nothing is registered or trained here: then the folder's last hash stays."""
        registry, ledger = self.registry, self._ledger
        if self._training or registry.hyperparameters is not None or registry.models:
            return False
        if ledger is None or ledger.experiment_hash is None:
            return False
        self.experiment.hash = plain_hash(ledger.experiment_hash)
        return True

    # -- training --------------------------------------------------------------------

    def safe_point(self) -> None:
        """The top of a training step: what was edited since the last one takes effect.

        Where training is paused it waits here, and the experiment hash with it: what is
        edited meanwhile opens one with the step that follows. An error of ours is said once
        and counted; the training that called never sees it.
        """
        if self.control.is_inside() or self.recording.is_diverted:
            return
        self._begin_step(waits=True)
        stopped = self._is_stopped
        self.control.stop(self._errands, self.evaluations.lets_go)
        if self._mode == "w" and (stopped or self.tuning.is_ahead):
            self._name_experiment()

    @property
    def _is_stopped(self) -> bool:
        """Whether no step follows before somebody resumes; an evaluation has its hash first."""
        return self.control.paused and self.control.reasons != ("evaluation",)

    def _begin_step(self, *, waits: bool = False) -> None:
        self._training = True
        if self._mode == "w":
            try:
                if self._ledger is None:
                    self._open()
                self.tuning.take()
                if not (waits and self._is_stopped):
                    self._name_experiment()
            except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
                self._say_failed("nothing is recorded", error)

    def _errands(self, taker: Taker = "safe point") -> None:
        """What the training thread does between two steps, and while it is paused."""
        self.tuning.take()
        if self.evaluations.controller.has_waiting:
            self._name_experiment()  # what it finds stands under what is applied
        self.evaluations.errands(taker)

    def pause(self, reason: str = "user") -> None:
        """Let training stop at its next safe point."""
        self.tuning.pause(reason)

    def resume(self) -> None:
        """Let training go on, whatever paused it."""
        self.evaluations.resumed()
        self.tuning.resume()

    def keep_serving(self, timeout_s: float | None) -> None:
        """Do errands on this thread for a while; None: until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self.control.stop(
                lambda: self._errands("serving"),
                timeout_s=float("inf") if timeout_s is None else timeout_s,
            )

    def _say_failed(self, what: str, error: Exception) -> None:
        self.notices.warn_once(
            ("safe point", type(error).__name__),
            f"{what}, and training goes on: {type(error).__name__}: {error}",
        )

    def _step_by_hand(self) -> int | None:
        """A value comes in a loop without an optimizer; the step of it, in an evaluation."""
        if self.recording.is_diverted:
            return self.step
        # Inside a batch of a watched loader, the loader's own safe point has passed; and what
        # a signal saves is no step of the training.
        if self._mode == "w" and self.batches.current is None and Firing.current() is None:
            self._begin_step()
        return None

    @property
    def step(self) -> int:
        """Where training is: the updates completed, else the step of what was saved last."""
        return self.clock.age if self.clock.has_optimizer else self.recording.last_step

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
        names = id_texts(ids)
        found = find_rows(self.ledger.ids, names, self.home)
        rows = [row for row in found if row is not None]
        unknown = [name for name, row in zip(names, found, strict=True) if row is None]
        if unknown:
            elsewhere, unknown = self._known_to_others(unknown)
            rows += elsewhere
        return np.array(rows, np.int32), unknown

    def _known_to_others(self, names: list[str]) -> tuple[list[int], list[str]]:
        """Rows of ids that another writer of the folder knows, and the ids that none does."""
        rows, unknown = [], []
        others = [v.store.ids for v in self.ledger.views() if v.writer != self.ledger.writer]
        theirs = [(ids, find_rows(ids, names, self.home)) for ids in others]
        for at, name in enumerate(names):
            found = [(ids, row) for ids, known in theirs if (row := known[at]) is not None]
            seen = [(ids, row) for ids, row in found if ids.origins_of(row)]
            if seen:
                # By what it is called there: a bare id, or a place that has got a name, is
                # no other sample. It is theirs: here it has no origin until it is seen.
                ids, row = seen[0]
                rows += self.ledger.ids.add([ids.name(row)], None).tolist()
            else:
                unknown.append(name)
        return rows, unknown

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
