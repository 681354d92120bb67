"""Sample ids as somebody writes them in a query, as the ids that the run folder keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightslab.queries.lookup import find_rows, id_texts

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
    asked = id_texts(sample_id)
    full: dict[str, str] = {}
    for view in session.ledger.views():
        ids = view.store.ids
        for name, row in zip(asked, find_rows(ids, asked, session.home), strict=True):
            if row is not None:
                full.setdefault(name, ids.name(row))
    return [full.get(name, name) for name in asked]
