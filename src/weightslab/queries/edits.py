"""Tags and discards of several writers, merged by the time of each edit, then by writer."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightslab.ledger import Ledger, View
from weightslab.ledger.edits.foreign import journal_entries
from weightslab.ledger.edits.journal import JournalEntry

__all__ = ["MergedEdits", "merged_edits"]


@dataclass(slots=True)
class MergedEdits:
    """What the edits of all writers add up to, by sample id."""

    discarded: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, dict[str, bool]] = field(default_factory=dict)
    categories: dict[str, dict[str, str | None]] = field(default_factory=dict)


def merged_edits(ledger: Ledger, views: Sequence[View]) -> MergedEdits:
    """Replay the journals of every writer in order of time; `views` is all of them."""
    merged = MergedEdits()
    aliases = _Aliases(views)
    streams = [_edits(ledger, view) for view in views]
    for _, _, _, view, entry in heapq.merge(*streams, key=lambda e: e[:3]):
        # A journal that is newer than its view may speak of samples that are not in it.
        rows = entry.rows[entry.rows < len(view.store.ids)]
        names = aliases.of(view.store.ids.names(rows))
        if entry.verb == "discard":
            merged.discarded.update(dict.fromkeys(names, entry.value == "true"))
        elif entry.verb == "tag" and entry.name is not None:
            merged.tags.setdefault(entry.name, {}).update(
                dict.fromkeys(names, entry.value == "true")
            )
        elif entry.verb == "category" and entry.name is not None:
            merged.categories.setdefault(entry.name, {}).update(dict.fromkeys(names, entry.value))
        elif entry.verb == "register" and entry.name is not None:
            merged.categories.setdefault(entry.name, {})
    return merged


class _Aliases:
    """What samples are called by writers that have seen their names.

    An edit of "train/5" is one of "img_5" where a writer knows that place by this name.
    """

    def __init__(self, views: Sequence[View]) -> None:
        stores = [view.store.ids for view in views]
        self._naming = [ids for ids in stores if ids.named_rows()]

    def of(self, names: list[str]) -> list[str]:
        """`names`, and what else the same samples are called."""
        found = list(names)
        for ids in self._naming:
            for name, row in zip(names, ids.find_all(names, under=None), strict=True):
                own = None if row is None else ids.own_name(row)
                if own is not None and own != name:
                    found.append(own)
        return found


Edit = tuple[int, str, int, View, JournalEntry]


def _edits(ledger: Ledger, view: View) -> Iterator[Edit]:
    # First what waits: a flush may turn it into a file that was not listed.
    with view.store.lock:
        waiting = list(view.store.pending.journal)
    seen = 0
    folder = ledger.layout.journal(view.writer)
    damaged = view.store.history.missed
    for entry in journal_entries(folder, lambda path, error: damaged(Path(path), error)):
        seen = max(seen, entry.lsn)
        yield (entry.time_us, view.writer, entry.lsn, view, entry)
    for entry in waiting:
        if entry.lsn > seen:
            yield (entry.time_us, view.writer, entry.lsn, view, entry)
