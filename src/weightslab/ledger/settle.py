"""Writers that are gone: what their logs hold becomes files, without a training to do it.

A rank that no later launch has, or a client that died, leaves a log that nobody takes
up. It is read from there by everybody; before a folder is copied, archived or repaired
it is better turned into files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightslab.errors import FolderError
from weightslab.ledger.arrays.large import LargeArrays
from weightslab.ledger.claim import Claim, check_format, claim_named
from weightslab.ledger.compaction.compactor import Merged
from weightslab.ledger.files import Files
from weightslab.ledger.history.reader import SegmentReader
from weightslab.ledger.layout import Layout
from weightslab.ledger.log.frames import log_files
from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.store import Store
from weightslab.ledger.writer import Writer
from weightslab.notices import Notices

__all__ = ["Compacted", "Settled", "compact_writers", "settle_claimed", "settle_writers"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the writers of a folder, by name. A writer that left no log is in none."""

    settled: tuple[str, ...]
    """Their logs are files now."""
    living: tuple[str, ...]
    """A process holds them: nothing of theirs was touched."""
    refused: tuple[str, ...]
    """The disk refused; their logs are as they were, and `Notices` says why."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of the writers of a folder."""

    merges: dict[str, int]
    """Number of merges by writer."""
    living: tuple[str, ...]
    """A process holds them, and merges by itself: nothing of theirs was touched."""
    refused: tuple[str, ...]
    """Not everything of theirs was merged, since the disk refused or a file is damaged: nothing
    is lost, and `Notices` says why."""


def settle_writers(
    root: Path | str, *, files: Files | None = None, notices: Notices | None = None
) -> Settled:
    """Publish the log of every writer whose process is gone.

    Each is taken over under its lock, as its own next launch would do it, and let go
    again. Killed at any moment, it loses nothing, and may be called again.

    Raises:
        FolderError: there is no ledger.
        LedgerFormatError: it has a format that this version does not know.
        OSError: the folder cannot be written at all.
    """
    layout = _checked(root)
    files, notices = files or Files(), notices or Notices()
    found: dict[str, list[str]] = {"settled": [], "living": [], "refused": []}
    for writer in layout.writers():
        claim = claim_named(files, layout, writer)
        if claim is None:
            found["living"].append(writer)
        elif not log_files(layout.log(writer)):
            claim.lock.release()
        else:
            published = settle_claimed(layout, claim, files, notices)
            found["settled" if published else "refused"].append(writer)
    return Settled(**{name: tuple(writers) for name, writers in found.items()})


def compact_writers(
    root: Path | str,
    *,
    archive: bool = False,
    on_merge: Callable[[Path], None] = lambda _: None,
    files: Files | None = None,
    notices: Notices | None = None,
) -> Compacted:
    """Merge the files of every writer whose process is gone; their logs become files first.

    Killed at any moment, it loses nothing, and may be called again.

    Args:
        archive: whether to make one file of each partition, in the smallest form.
        on_merge: called with the file of each merge.

    Raises:
        FolderError: there is no ledger.
        LedgerFormatError: it has a format that this version does not know.
        OSError: the folder cannot be written at all.
    """
    layout = _checked(root)
    files, notices = files or Files(), notices or Notices()
    merges: dict[str, int] = {}
    living, refused = [], []
    for name in layout.writers():
        claim = claim_named(files, layout, name)
        if claim is None:
            living.append(name)
            continue
        merged = Merged(0, 0)

        def merge(writer: Writer) -> None:
            nonlocal merged
            merged = writer.compact_now(archive=archive, on_merge=on_merge)

        published = settle_claimed(layout, claim, files, notices, then=merge)
        merges[name] = merged.merges
        if merged.failures or not published:
            refused.append(name)
    return Compacted(merges, tuple(living), tuple(refused))


def _checked(root: Path | str) -> Layout:
    layout = Layout(Path(root))
    if not check_format(layout):
        raise FolderError(f"{layout.root} holds no ledger: choose a run folder")
    return layout


def settle_claimed(
    layout: Layout,
    claim: Claim,
    files: Files,
    notices: Notices,
    then: Callable[[Writer], None] = lambda _: None,
) -> bool:
    """Turn everything that a writer logged into files, and let it go; False when the log stays.

    `then` is done with the writer, once its files hold everything, before it is let go.
    """
    options = LedgerOptions()

    def damaged(path: str, error: OSError) -> None:
        notices.warn_once(("damaged", path), f"{path} cannot be read ({error}): it is left out")

    store = Store(
        _log_nothing,
        reader=SegmentReader(options.cache_bytes),
        large=LargeArrays(
            rate_bytes_s=options.array_rate_bytes_s, budget_bytes=options.array_budget_bytes
        ),
        on_damage=damaged,
    )
    writer = Writer(
        store,
        layout,
        rank=0,
        files=files,
        options=options,
        notices=notices,
        on_damage=damaged,
    )
    if not writer.attach(fresh=False, claim=claim):
        return False
    try:
        done = writer.publish(bases=True)
        if done:
            then(writer)
    except OSError as error:
        writer.disk_failed(error)
        done = False
    finally:
        published = writer.finish()
    return published and done


def _log_nothing(op: dict[str, Any], _: bytes) -> None:
    raise AssertionError(f"{op} has no place in a writer that is gone")
