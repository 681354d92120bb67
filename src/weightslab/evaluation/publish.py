"""The results of an evaluation become markers: values under a hash of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator

import numpy as np

from weightslab.checkpoints.identity import marker, plain_hash
from weightslab.evaluation.buffer import Buffer, Rowed
from weightslab.evaluation.request import Outcome
from weightslab.ledger import Ledger
from weightslab.types import Rows

__all__ = ["enter", "next_marker", "portions", "publish"]

_AT_ONCE = 500_000
"""Values that are saved in one go, while the training's have to wait."""

_NOBODY: Rows = np.zeros(0, np.int32)


def next_marker(ledger: Ledger, plain: str) -> str:
    """The marker after those that the folder has, of any launch and process."""
    return marker(plain, 1 + max(_numbers(ledger, plain), default=0))


def _numbers(ledger: Ledger, plain: str) -> list[int]:
    found = []
    for view in ledger.views():
        with view.store.lock:
            for key in view.store.history.partitions:
                name = key.experiment_hash
                if name is not None and plain_hash(name) == plain:
                    number = name[len(plain) + 1 :]
                    found.append(int(number) if number.isdecimal() else 0)
    return found


def publish(ledger: Ledger, buffer: Buffer, name: str, step: int) -> None:
    """Save what was recorded under the marker `name`, at the step of the evaluation.

    The curves come last: a process that is killed meanwhile leaves no point without its
    samples.
    """
    for pieces in portions(buffer.rowed(), _AT_ONCE):
        with ledger.under(name):
            for signal, values, rows, annotations in pieces:
                if annotations is None:
                    ledger.append_samples({signal: values}, rows, step=step, log=False)
                else:
                    ledger.append_instances(
                        {signal: values}, rows, annotations, step=step, log=False
                    )
    curves = buffer.curves()
    if curves:
        with ledger.under(name):
            ledger.append_scalars(curves, step=step)


def portions(pieces: Iterable[Rowed], at_once: int) -> Iterator[list[Rowed]]:
    """The pieces in groups of at most `at_once` values; larger ones are cut."""
    portion: list[Rowed] = []
    size = 0
    for signal, values, rows, numbers in pieces:
        for at in range(0, len(values), at_once):
            part = slice(at, at + at_once)
            cut = None if numbers is None else numbers[part]
            piece = Rowed(signal, values[part], rows[part], cut)
            if portion and size + len(piece.values) > at_once:
                yield portion
                portion, size = [], 0
            portion.append(piece)
            size += len(piece.values)
    if portion:
        yield portion


def enter(ledger: Ledger, outcome: Outcome) -> None:
    """Put an outcome into the journal; numbers that JSON has no word for are null."""
    request = outcome.request
    value = {
        "loader": request.loader_name,
        "tags": None if request.tags is None else list(request.tags),
        "state": outcome.state,
        "marker": outcome.marker,
        "results": {
            name: value if math.isfinite(value) else None for name, value in outcome.results.items()
        },
        "error": outcome.error,
    }
    ledger.edit.enter(
        "evaluation", request.loader_name, json.dumps(value), _NOBODY, actor=request.by
    )
