"""Sample ids as somebody writes them in a query, as the ids that the ledger keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["known_ids"]


def known_ids(session: Session, sample_id: object) -> list[str] | None:
    """Full ids of what a caller named; an id that nobody knows stays as it is.

    A bare index means the sample of the current batch's origin, as in every verb.
    None, which means all, stays None.

    Raises:
        InputError: something that is neither a string nor a whole number.
    """
    if sample_id is None:
        return None
    rows, unknown = session.look_up(sample_id)
    return [*session.ledger.ids.names(rows), *unknown]
