"""Ids and names as somebody writes them in a query, and what the run folder knows them as."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

from weightslab.queries.lookup import find_rows, id_texts
from weightslab.queries.names import origin_spellings, tag_name

if TYPE_CHECKING:
    from weightslab.ledger.layout import Kind
    from weightslab.session import Session

__all__ = [
    "known_ids",
    "say_unknown_hashes",
    "say_unknown_origin",
    "say_unknown_signals",
    "say_unknown_tag",
]

_SHOWN = 8


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
    for view in session.settled().views():
        ids = view.store.ids
        for name, row in zip(asked, find_rows(ids, asked, session.home), strict=True):
            if row is not None:
                full.setdefault(name, ids.name(row))
    return [full.get(name, name) for name in asked]


def say_unknown_signals(session: Session, asked: Collection[str] | None, kind: Kind) -> None:
    """Say which of the signals that were asked for nobody has saved at this layer."""
    if not asked:
        return
    known = {
        name for view in session.settled().views() for name in view.store.history.signal_names(kind)
    }
    for name in asked:
        if name in known:
            continue
        definition = session.signals.registry.get(name)
        if definition is None:
            _say(session, f"{kind} signal", name, known)
        elif definition.subscribe_to is not None:
            _say_waiting(session, definition.name, definition.subscribe_to)


def _say_waiting(session: Session, name: str, source: str) -> None:
    """Say that a dynamic signal has no values since what it subscribes to has none, either."""
    kinds: tuple[Kind, ...] = ("sample", "instance", "global")
    known = {
        saved
        for view in session.ledger.views()
        for kind in kinds
        for saved in view.store.history.signal_names(kind)
    }
    if source not in known and source not in session.signals.registry:
        _say(session, f"signal that {name!r} waits for,", source, known)


def say_unknown_hashes(session: Session, asked: Collection[str] | None) -> None:
    """Say which of the experiment hashes that were asked for have no values."""
    if not asked:
        return
    known = set(filter(None, (session.settled().experiment_hash,)))
    for view in session.settled().views():
        with view.store.lock:
            known.update(
                key.experiment_hash for key in view.store.history.partitions if key.experiment_hash
            )
    for name in asked:
        if name not in known:
            _say(session, "experiment hash", name, known)


def say_unknown_origin(session: Session, asked: str | None) -> None:
    """Say that no sample is in the split that was asked for."""
    known = set(session.registry.loaders)
    for view in session.settled().views():
        codes, sets = view.store.ids.origin_codes()
        known.update(name for code in set(codes.tolist()) for name in sets[code])
    if asked is not None and origin_spellings(asked).isdisjoint(known):
        _say(session, "split", asked, known)


def say_unknown_tag(session: Session, asked: str | None) -> None:
    """Say that there is no tag of the name that was asked for."""
    known = {*session.settled().tags(), *session.ledger.categories()}
    if asked is not None and tag_name(asked, known) not in known:
        _say(session, "tag", asked, known)


def _say(session: Session, what: str, name: str, known: set[str]) -> None:
    if not known:
        return  # a question before the first answer is no mistake
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    session.notices.warn_once(
        ("unknown", what, name), f"there is no {what} {name!r}: {hint}known: {shown}"
    )
