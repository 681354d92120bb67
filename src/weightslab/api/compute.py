"""`compute_signals`: static signals over a whole dataset."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from weightslab.api.arguments import check_origin
from weightslab.api.history import samples
from weightslab.capture.items import Items
from weightslab.errors import StateError
from weightslab.isolation import preserved_rng
from weightslab.ledger.log.records import Floats
from weightslab.progress import Progress
from weightslab.session import Session, current, guard_worker
from weightslab.signals.firing import Firing
from weightslab.signals.static import Scene, chosen_signals, compute
from weightslab.types import Rows

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

__all__ = ["compute_signals"]

SAVED_TOGETHER = 256
SAVED_EVERY_S = 0.5
MOST_WAITING = 100
"""Batches of values whose dynamic signals may be behind."""


def compute_signals(dataset_or_loader: Any, origin: str | None = None, signals: Any = None) -> int:
    """Compute static signals for every sample of a dataset, and keep the values.

    Each sample is read once, in order, discarded ones too, by the loader's own workers; the
    functions run here. The values become history at the current step and columns of the
    sample table, without a point on the global curve, and fire the signals that subscribe
    to them. A progress bar shows on a terminal.

    It can be called between two steps of a training, on the thread that trains, but not in a
    dynamic signal: the random numbers of torch, Python and numpy are as before, and the
    loader's own iterator goes on where it was. (A generator that the dataset itself owns is
    drawn from, unless workers read it.)

    Args:
        dataset_or_loader: a watched loader, a DataLoader or a dataset. The samples have the
            ids of the watched loader over the same dataset; those of an unwatched dataset
            are named as if it were watched under `origin`. Values of an iterable dataset
            belong to the ids that its items say.
        origin: the split, and what `ctx.origin` says. None: that of the watched loader,
            else "train".
        signals: names of static signals, functions that are decorated with `wl.signal`, or a
            list of these. None: every static signal that is registered, in that order.

    Returns:
        How many samples the functions were called for. A function that raises costs its own
        value only, which is counted in `wl.status()` and said once.

    Raises:
        UnknownOptionError: a name that no signal has.
        InputError: a dynamic signal, or none at all; something that is neither loader nor
            dataset; items that are whole batches.
        WorkerProcessError: called inside a DataLoader worker.
        StateError: called in a dynamic signal.
        What the dataset raises comes out, as does Ctrl-C: values of the samples before are kept.

    Example:
        >>> import numpy as np, weightslab as wl
        >>> @wl.signal(name="brightness")
        ... def brightness(ctx):
        ...     return ctx.image.mean()
        >>> images = [np.full((8, 8, 3), level, np.uint8) for level in (0, 51, 255)]
        >>> wl.compute_signals(images, origin="train")
        3
        >>> wl.samples(columns="signals").rows()
        [('train/0', 0, 0.0), ('train/1', 0, 51.0), ('train/2', 0, 255.0)]
    """
    guard_worker("compute_signals")
    check_origin(origin)
    session = current()
    if session.signals.computes_here:
        raise StateError(
            "wl.compute_signals puts random numbers back where they were, and training draws some "
            "beside a dynamic signal: call it where training is, between two of its steps"
        )
    chosen = chosen_signals(session.signals.registry, signals)
    items = Items(session, dataset_or_loader, origin)
    kept = _Kept(session)
    scene = Scene(items.origin, kept.dataframe, kept.keep, session.signals.failures)
    with session.work.shown(Progress(f"signals of {items.origin}", items.total)) as progress:
        try:
            with preserved_rng():
                for chunk in items:
                    kept.rows = chunk.rows
                    with Firing(session.ledger, chunk.rows, session.clock.age) as firing:
                        compute(chosen, firing.ids, chunk.items, scene)
                    progress.advance(len(chunk.rows))
                    kept.save_if_due()
        finally:
            kept.save()
    return progress.done


class _Kept:
    """Values on their way to the ledger, some chunks at a time."""

    def __init__(self, session: Session) -> None:
        self.rows: Rows = np.empty(0, np.int32)
        """Those of the chunk at hand, [B]."""
        self._session = session
        self._held: dict[str, list[tuple[Rows, Floats]]] = {}
        self._saved_at_s = time.monotonic()
        self._frame: pl.DataFrame | None = None

    def keep(self, name: str, places: npt.NDArray[np.int64], values: Floats) -> None:
        """Take up values of some samples of the chunk."""
        if len(places):
            self._held.setdefault(name, []).append((self.rows[places], values))

    def save_if_due(self) -> None:
        """Save once there are enough values, or they have waited long enough."""
        most = max(
            (sum(len(rows) for rows, _ in parts) for parts in self._held.values()), default=0
        )
        if most >= SAVED_TOGETHER or time.monotonic() - self._saved_at_s > SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Let go of what is held: into the ledger."""
        step = self._session.clock.age
        while self._held:
            name, parts = next(iter(self._held.items()))
            rows = np.concatenate([rows for rows, _ in parts])
            values = np.concatenate([values for _, values in parts])
            self._session.recording.samples({name: values}, rows, step=step, log=False)
            del self._held[name]  # after it is saved: Ctrl-C may come at any moment
        signals = self._session.signals
        if signals.status()["waiting"] > MOST_WAITING:
            signals.drain()  # this can wait for those that it fires, as a training cannot
        self._saved_at_s = time.monotonic()
        self._frame = None

    def dataframe(self) -> pl.DataFrame:
        """The sample table, as it is since values were saved last."""
        if self._frame is None:
            self._frame = samples()
        return self._frame
