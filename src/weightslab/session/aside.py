"""A thread that leaves its training for a while: no batch and no step of it is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightslab.session.session import Session

__all__ = ["aside"]


@contextmanager
def aside(session: Session) -> Iterator[None]:
    """Within, this thread evaluates: batches that it receives are no batches of the training.

    What it saves belongs to the step of the moment (`session.clock.moment`) and advances
    no clock; afterwards it works on the batch that it had in hand.
    """
    with session.batches.aside(), session.clock.held():
        yield
