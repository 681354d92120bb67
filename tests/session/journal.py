"""What stands in the journal of the current session's run, for the tests of this room."""

from __future__ import annotations

import json
from typing import Any

from weightslab.ledger.edits.journal import JournalEntry, read_journal
from weightslab.session import current

__all__ = ["edits", "entries", "hashes", "switches"]


def entries(*verbs: str) -> list[JournalEntry]:
    """Entries of these verbs, in order."""
    session = current()
    session.flush()
    files = sorted(session.ledger.root.glob("journal/**/*.parquet"))
    found = [entry for path in files for entry in read_journal(path)]
    return sorted((one for one in found if one.verb in verbs), key=lambda one: one.lsn)


def edits() -> list[dict[str, Any]]:
    """What each entry says of hyperparameters."""
    return [json.loads(entry.value or "") for entry in entries("hyperparameters")]


def hashes() -> list[str | None]:
    """Experiment hashes, in the order in which they were opened."""
    return [entry.value for entry in entries("experiment")]


def switches() -> list[tuple[str, str | None]]:
    """Pauses and resumes, each with its reason."""
    return [(entry.verb, entry.value) for entry in entries("pause", "resume")]
