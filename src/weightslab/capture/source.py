"""A watched loader's dataset as the ledger sees it: positions become rows.

Registering reads nothing and opens nothing. `attach` gives every sample of the
loader its row; it runs at the first iteration, or when the session opens its
ledger for another reason. Shapes: B samples in a batch, P positions.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch.utils.data import IterableDataset

from weightslab.capture.bases import Base, Indices, Layout, indices_of, layout_of, same_layout
from weightslab.capture.batch_size import Sizing
from weightslab.capture.carry import Origins
from weightslab.capture.discard import Skips
from weightslab.capture.identify import IndexedSamples, Manners, NoRowsError, StreamedSamples
from weightslab.capture.skipping import skipped_names, skipped_positions
from weightslab.capture.tracking import IdFunction
from weightslab.errors import AllDiscardedError, WeightsLabError
from weightslab.types import BatchIds, Namer, Rows

if TYPE_CHECKING:
    from weightslab.ledger import Ledger
    from weightslab.session import Session

__all__ = ["OnDiscard", "Source", "SourceOptions", "infer_training", "sources"]

OnDiscard = Literal["shrink", "replace", "drop", "off"]
"""shrink: epochs get shorter, batches stay full. replace: another sample of the loader takes the
place. drop: batches get smaller. off: nothing happens. Only the first changes how many batches
there are."""

EVALUATION_WORDS = ("val", "test", "eval", "dev")


def infer_training(name: str) -> bool:
    """Whether a loader or signal of this name is about training: unless it says otherwise.

    The words of the other are val, test, eval and dev.
    """
    lowered = name.lower()
    return not any(word in lowered for word in EVALUATION_WORDS)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a loader was asked to be watched."""

    is_training: bool
    append_ids: bool = True
    id_fn: IdFunction | None = None
    ids: bool | None = None
    """True: integers in the batch are ids, always; False: nothing in the batch is."""
    on_discard: OnDiscard = "shrink"
    """What becomes of a discarded sample's place in an epoch of a training loader."""
    queued: bool = False
    """Whether batches wait in `Source.queue` until a trainer says which one it works on."""


class Source:
    """The samples of one watched loader.

    Threads: rows are asked for by whoever consumes the loader; names change
    under the lock of the base dataset.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        dataset: Any,
        options: SourceOptions,
    ) -> None:
        self.session = session
        self.name = name
        self.dataset = dataset
        self.options = options
        self.streams = isinstance(dataset, IterableDataset)
        self.skips = Skips()
        self.skipped_names: set[str] = set()
        """Ids that an iterable dataset leaves out."""
        self.layout: Layout | None = None
        self.bases: list[Base] = []
        self._manners = Manners(name, options.ids, self._is_foreign, self.say)
        self._samples: IndexedSamples | StreamedSamples | None = None
        self._ledger: Ledger | None = None
        self.namer: Namer
        """Gives the ids of rows; there with the first row."""
        self.is_apart = False
        """Whether the loader is an evaluation's own: no training waits in it, or shows itself."""
        self._without_discards = -1
        self._seen: tuple[int, ...] = ()
        self.handed_out = 0
        """Batches that the consumer received."""
        self.queue: deque[BatchIds | None] = deque()
        """Batches of a trainer's loader that were handed out and not received yet."""
        self.sizing: Sizing | None = None
        """The loader's batch size; None until there is a loader."""
        self.leaves_out_discarded = options.is_training
        self.again: Callable[[Source, Sequence[str] | None], Any] | None = None
        """Makes a loader for an evaluation; None where no loader belongs to this."""
        self._lay_out()

    # -- evaluating --------------------------------------------------------

    def evaluation_loader(self, tags: Sequence[str] | None = None) -> Any:
        """A fresh watched loader over these samples, for one evaluation.

        Its batches come as those of the registered loader, in order, and carry the same
        ids; no safe point is in it. See `capture.evaluation_loader` for what it holds and
        what it raises.
        """
        assert self.again is not None
        return self.again(self, tags)

    @property
    def is_registered(self) -> bool:
        """Whether the loader of this is the registered one of its name."""
        loader = self.session.registry.loaders.get(self.name)
        return getattr(loader, "weightslab", None) is self

    def of_its_own(self) -> Source:
        """The same samples with the same names, for a loader that no training waits in."""
        made = copy.copy(self)
        made.options = replace(self.options, is_training=False, queued=False)
        made.is_apart = True
        made.queue = deque()
        made.skips, made.skipped_names = Skips(), set()
        made.handed_out = 0
        made.sizing = None
        made._lay_out()  # noqa: SLF001  # one class
        return made

    # -- registering -------------------------------------------------------

    @property
    def base_datasets(self) -> tuple[Any, ...]:
        """The base datasets under the loader's dataset."""
        return tuple(base.dataset for base in self.bases)

    def _lay_out(self) -> None:
        """Take the dataset apart; done anew for every iterator, since subsets change."""
        layout = None if self.streams else layout_of(self.dataset)
        if self.bases and (
            layout is None or (self.layout is not None and same_layout(self.layout, layout))
        ):
            return
        known = {
            id(base.dataset): base
            for source in (*sources(self.session), self)
            for base in source.bases
        }
        datasets = (self.dataset,) if layout is None else layout.datasets
        self.layout = layout
        self.bases = [known.get(id(data)) or Base(data) for data in datasets]
        for base in self.bases:
            base.origins.add(self.name)
        self._ledger = None
        self._seen = ()

    # -- attaching ---------------------------------------------------------

    def attach(self) -> None:
        """Give every sample of this loader its row. O(1) for a whole dataset of any size.

        Of loaders over one base dataset those that the folder knows go first, so that a
        loader that joins in a later run renames nothing; then training, then by name, so
        that ids do not depend on the order of registration.
        """
        ledger = self.session.ledger
        if self._ledger is ledger:
            return
        mine = {id(base) for base in self.bases}
        sharing = {
            id(source): source
            for source in (*sources(self.session), self)
            if any(id(base) in mine for base in source.bases)
        }
        known = ledger.ids.registered()
        for source in sorted(
            sharing.values(),
            key=lambda one: (one.name not in known, not one.options.is_training, one.name),
        ):
            source._attach(ledger)  # noqa: SLF001  # one class

    def _attach(self, ledger: Ledger) -> None:
        if self._ledger is ledger:
            return
        for base in self.bases:
            if base.ledger is not ledger:
                base.forget_rows()
                base.ledger = ledger
        layout = self.layout
        if layout is None:
            self._samples = StreamedSamples(self._manners, ledger.ids, self.bases[0])
        else:
            self._samples = IndexedSamples(
                self._manners,
                ledger.ids,
                layout,
                self.bases,
                lambda base, indices: self._register(ledger, base, indices),
            )
            for place, base in enumerate(self.bases):
                with base.lock:
                    labels = None if layout.label is None else layout.label[layout.which == place]
                    self._register(ledger, base, indices_of(layout, place), labels)
        self._ledger = ledger
        self.namer = ledger.ids.names
        self._seen = ()

    def _register(
        self,
        ledger: Ledger,
        base: Base,
        indices: range | Indices,
        labels: Indices | None = None,
    ) -> None:
        """Give indices of a base their rows; `labels` are the numbers in their ids."""
        if not len(indices):
            return
        base.grow(int(indices[-1] if isinstance(indices, range) else indices.max()) + 1)
        wanted = slice(indices.start, indices.stop) if isinstance(indices, range) else indices
        rows = base.rows[wanted]
        missing = rows < 0
        if labels is None and missing.all():
            base.rows[wanted] = ledger.register(self.name, indices)
        else:
            if missing.any():
                absent = np.asarray(indices, np.int64)[missing]
                numbers = absent if labels is None else labels[missing]
                base.rows[absent] = self._free_rows(ledger, base, absent, numbers)
            ledger.ids.add_origin(rows[~missing], self.name)
        base.full = bool((base.rows >= 0).all())

    def _free_rows(self, ledger: Ledger, base: Base, indices: Indices, numbers: Indices) -> Rows:
        """Rows "<origin>/<number>", unless another part of this dataset has one of them."""
        rows = ledger.register(self.name, numbers)
        others = [other.rows for other in self.bases if other is not base]
        if not others or not np.isin(rows, np.concatenate(others)).any():
            return rows
        place = self.bases.index(base)
        names = [f"{self.name}/{place}/{index}" for index in indices.tolist()]
        return ledger.ids.add(names, self.name)

    # -- before an epoch, and before a batch ----------------------------------

    def begin(self, *, workers_live: bool = False) -> None:
        """Attach, and take in what the dataset and the discards are now.

        With `workers_live` the workers of an earlier epoch go on, over the dataset
        as it was when they started, so it is not looked at again.

        A run folder that cannot be used leaves the loader without ids, and is said.

        Raises:
            AllDiscardedError: nothing is left to iterate.
        """
        try:
            if not workers_live:
                self._lay_out()
            self.attach()
        except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
            ours = isinstance(error, (WeightsLabError, OSError))
            why = str(error) if ours else f"{type(error).__name__}: {error}"
            self.say("unattached", f"the loader {self.name!r} goes on without ids: {why}")
            return
        self.skips.length = (self.layout.length or 0) if self.layout is not None else 0
        unsized = self.layout is not None and self.layout.length is None
        self.skips.by_position = (
            self._is_discarded if unsized and self.options.is_training else None
        )
        self.refresh()
        left_out = len(self.skips.positions)
        if left_out and left_out == self.skips.length:
            raise AllDiscardedError(
                f"every sample of the loader {self.name!r} ({left_out}) is discarded, so there is "
                f"nothing to train on: restore some with "
                f"wl.discard_samples(sample_ids, discarded=False)"
            )

    def refresh(self) -> None:
        """Take in discards and restores since the last call; nothing to do costs nothing."""
        ledger = self._ledger
        if ledger is None or not self.options.is_training:
            return
        view = ledger.discarded
        version = view.version  # before the count: an edit between the two is met next time
        if version == self._without_discards:
            return
        self._without_discards = -1 if view.count else version
        seen = (version, *(base.moves for base in self.bases))
        if seen == self._seen:
            return
        self._seen = seen
        if not view.count:
            self.skips.positions.clear()
            self.skipped_names.clear()
        elif self.layout is None:
            names = skipped_names(ledger, self.name)
            self.skipped_names.clear()
            self.skipped_names.update(names)
        elif self.layout.length is not None:
            self.skips.set_positions(skipped_positions(ledger, self.layout, self.bases))

    def _is_discarded(self, position: int) -> bool:
        ledger = self._ledger
        if ledger is None or not ledger.discarded.count:
            return False
        rows = self.bases[0].rows
        row = int(rows[position]) if 0 <= position < len(rows) else -1
        return row >= 0 and bool(ledger.discarded.row(row))

    # -- naming a batch --------------------------------------------------------

    def rows_of(self, origins: Origins, batch: Any) -> tuple[Rows, Any]:
        """Rows of the B samples of a batch, and its id field (the very object), if any.

        Raises:
            NoRowsError: they cannot be told.
        """
        if origins.problem is not None:
            raise NoRowsError(origins.problem)
        if self._samples is None:
            raise NoRowsError("there is no run folder to name its samples")
        return self._samples.rows_of(origins, batch)

    def _is_foreign(self, base: Base, row: int) -> bool:
        return any(
            row in other.named
            for source in sources(self.session)
            for other in source.bases
            if other is not base
        )

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that this loader's samples stand in; None before it is attached."""
        return self._ledger

    def say(self, key: str, message: str) -> None:
        """Say once, for this loader, what was left out and why."""
        self.session.notices.warn_once(("loader", self.name, key), message)


def sources(session: Session) -> list[Source]:
    """The sources of every watched loader of a session."""
    found = [getattr(one, "weightslab", None) for one in session.registry.loaders.values()]
    return [source for source in found if isinstance(source, Source)]
