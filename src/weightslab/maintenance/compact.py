"""Many small files of a run folder become few large ones, or an archive."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weightslab.ledger.layout import Layout
from weightslab.ledger.settle import compact_writers
from weightslab.notices import Notices

__all__ = ["Compaction", "compact"]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What merging did to a run folder."""

    merges: int
    files_before: int
    files: int
    """Parquet files now."""
    bytes_before: int
    bytes: int
    """Their size now."""
    living: tuple[str, ...]
    """Writers that a process holds: they merge by themselves."""
    refused: tuple[str, ...]
    """Writers whose files could not all be merged."""
    notices: tuple[str, ...]
    """What was said meanwhile."""


def compact(
    root: Path, *, archive: bool = False, on_merge: Callable[[Path], None] = lambda _: None
) -> Compaction:
    """Merge the files of every writer of a run folder that no process holds.

    Args:
        archive: whether to make one file of each partition, in the smallest form.
        on_merge: called with the file of each merge.

    Raises:
        FolderError: there is no ledger.
        LedgerFormatError: it has a format that this version does not know.
        OSError: the folder cannot be written at all.
    """
    notices = Notices()
    before = _held(root)
    done = compact_writers(root, archive=archive, on_merge=on_merge, notices=notices)
    after = _held(root)
    return Compaction(
        sum(done.merges.values()),
        before[0],
        after[0],
        before[1],
        after[1],
        done.living,
        done.refused,
        tuple(notices.messages()),
    )


def _held(root: Path) -> tuple[int, int]:
    """Number and size of the published Parquet files of a folder, which may be living."""
    sizes = []
    temporary = Layout(root).temporary
    for path in root.rglob("*.parquet"):
        if not path.is_relative_to(temporary):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)
