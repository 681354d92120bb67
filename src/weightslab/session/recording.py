"""Where the values of a training go: to the ledger, or into the buffer of an evaluation.

Every value that is watched or saved by hand takes this way, and nothing else does.
Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from weightslab.ledger import Ledger
from weightslab.ledger.log.records import Floats
from weightslab.signals.firing import Firing
from weightslab.signals.signals import Listener
from weightslab.types import Rows

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Recording", "Sink"]


class Sink(Protocol):
    """Takes what one thread records in place of the ledger."""

    def samples(self, signals: Mapping[str, Floats], rows: Rows, *, step: int, log: bool) -> None:
        """One value [B] per sample of each signal."""

    def instances(
        self, signals: Mapping[str, Floats], rows: Rows, annotations: Rows, *, step: int, log: bool
    ) -> None:
        """One value [N] per instance of each signal."""

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Values of the global curve."""


class Recording:
    """The one way of values into a run."""

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._ledger = ledger
        self._diverted: dict[int, Sink] = {}
        """Where the values of a thread go instead, by thread."""
        self.listener: Listener | None = None
        """Whoever reacts to values; None while nobody does, which costs nothing."""
        self.last_step = 0
        """Step of the value that went to the ledger last."""
        self.saved_at = float("-inf")
        """When that was, in seconds of `time.monotonic`."""

    def listen(self, listener: Listener | None) -> None:
        """Let one hear of values from now on; None: nobody."""
        self.listener = listener

    @contextmanager
    def diverted(self, sink: Sink) -> Iterator[None]:
        """What this thread records within goes to `sink`, and nobody hears of it."""
        me = threading.get_ident()
        before = self._diverted.get(me)
        self._diverted[me] = sink
        try:
            yield
        finally:
            if before is None:
                del self._diverted[me]
            else:
                self._diverted[me] = before

    @property
    def is_diverted(self) -> bool:
        """Whether this thread's values go elsewhere: it is evaluating."""
        return self._sink is not None

    @property
    def _sink(self) -> Sink | None:
        return self._diverted.get(threading.get_ident()) if self._diverted else None

    def samples(
        self, signals: Mapping[str, Floats], rows: Rows, *, step: int, log: bool = True
    ) -> None:
        """Save one value [B] per sample of each signal; `log` also feeds the curve."""
        if self._diverted and (sink := self._sink) is not None:
            sink.samples(signals, rows, step=step, log=log)
            return
        self._ledger().append_samples(signals, rows, step=step, log=log)
        if (firing := Firing.current()) is not None:
            firing.forget(signals)
        self.last_step, self.saved_at = step, time.monotonic()
        if self.listener is not None:
            self.listener.heard(signals, rows, None, step)

    def instances(
        self,
        signals: Mapping[str, Floats],
        rows: Rows,
        annotations: Rows,
        *,
        step: int,
        log: bool = True,
    ) -> None:
        """Save one value [N] per instance: their samples' rows, and 1-based annotations."""
        if self._diverted and (sink := self._sink) is not None:
            sink.instances(signals, rows, annotations, step=step, log=log)
            return
        self._ledger().append_instances(signals, rows, annotations, step=step, log=log)
        self.last_step, self.saved_at = step, time.monotonic()
        if self.listener is not None:
            self.listener.heard(signals, rows, annotations, step)

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Save values of the global curve."""
        if self._diverted and (sink := self._sink) is not None:
            sink.scalars(scalars, step=step)
            return
        self._ledger().append_scalars(scalars, step=step)
        self.last_step, self.saved_at = step, time.monotonic()
        if self.listener is not None:
            self.listener.heard(scalars, None, None, step)  # type: ignore[arg-type]  # numbers

    def arrays(
        self,
        name: str,
        rows: Rows,
        values: npt.NDArray[Any] | Sequence[Any],
        annotations: Rows | None = None,
    ) -> None:
        """Keep the latest targets or predictions, of an evaluation as well."""
        self._ledger().append_arrays(name, rows, values, annotations)
