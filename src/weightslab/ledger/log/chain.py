"""The log files of a writer, read as one log: in order, and with care about what is missing.

Between two files nothing is missing unless a disk lost it. After a power loss
what was not synced may be gone in any order, so what stands behind a hole is
left out: nobody was promised it, and a log that lacks its middle is none. Where
a later file says that everything before it had been on the disk, the hole is
damage, and the rest is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from weightslab.ledger.log.frames import Frame, LogFile, log_files, read_log

__all__ = ["LogChain", "read_logs"]

OnDamage = Callable[[str, OSError], None]


@dataclass(frozen=True, slots=True)
class _Link:
    number: int
    path: Path
    file: LogFile


@dataclass(slots=True)
class LogChain:
    """What the log files of a writer hold."""

    read: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    last_lsn: int = 0
    """Highest number that a record has; 0 for none."""
    _links: list[_Link] = field(default_factory=list)
    _retired: set[int] = field(default_factory=set)
    """Numbers of files that went while they were read."""

    def take(self, path: Path, on_damage: OnDamage) -> None:
        """Read one file of the chain."""
        try:
            file = read_log(path)
        except FileNotFoundError:
            # Retired by its living writer while we read: its records are in files.
            self._retired.add(int(path.stem))
            return
        except (OSError, ValueError) as error:
            on_damage(str(path), error if isinstance(error, OSError) else OSError(str(error)))
            self.unreadable.append(path)
            return
        self.read.append(path)
        if file.torn:
            reason = f"the record behind its first {len(file.frames)} is damaged"
            on_damage(str(path), OSError(reason))
        if file.first_lsn:
            self._links.append(_Link(int(path.stem), path, file))
            self._links.sort(key=lambda link: (link.file.first_lsn, link.number))
            self.last_lsn = max(self.last_lsn, file.first_lsn + len(file.frames) - 1)

    def frames(self, published_lsn: int, on_damage: OnDamage) -> list[Frame]:
        """Every record that counts, in order; those up to `published_lsn` may be missing."""
        unread = {int(path.stem) for path in self.unreadable}
        found: list[Frame] = []
        leaving_out = False
        number, last = 0, published_lsn
        for at, link in enumerate(self._links):
            between = set(range(number + 1, link.number))
            number, first = link.number, link.file.first_lsn
            if link.file.settled:
                leaving_out = False
            elif first > last + 1 and not between & self._retired:
                durable = _durable(self._links[at:])
                # Before the first file there is nothing, if it says that this was durable.
                if at or not durable:
                    leaving_out |= not durable and not between & unread
                    rest = ", with what follows it" if leaving_out else ""
                    reason = f"the log lacks what stands before its record {first}{rest}"
                    on_damage(str(link.path), OSError(reason))
            last = max(last, first + len(link.file.frames) - 1)
            if not leaving_out:
                found.extend(link.file.frames)
        return found


def read_logs(folder: Path, on_damage: OnDamage) -> LogChain:
    """The logs in `folder`. What cannot be read goes to `on_damage`."""
    chain = LogChain()
    try:
        paths = log_files(folder)
    except OSError as error:
        on_damage(str(folder), error)
        return chain
    for path in paths:
        chain.take(path, on_damage)
    return chain


def _durable(links: list[_Link]) -> bool:
    """Whether a file that goes on with the first one says that all before it was on the disk."""
    for at, link in enumerate(links):
        if at and link.file.settled:
            return False
        if link.file.durable:
            return True
    return False
