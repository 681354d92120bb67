"""The history of one writer: its partitions, and every way to read them.

A look takes all partitions that were asked for at one moment. The files that it speaks of
stay until it is over, also when they are merged into others meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import RLock

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.curve import CurvePiece
from weightslab.ledger.history.mapped import Edges, take_rows
from weightslab.ledger.history.merge import windows
from weightslab.ledger.history.partitions import (
    Entry,
    Partition,
    PartitionKey,
    Segment,
    chunk_of,
    fold_curve,
)
from weightslab.ledger.history.pyramid import blocks_of
from weightslab.ledger.history.reader import SegmentReader
from weightslab.ledger.history.segments import Chunk, concat_chunks, sort_chunk
from weightslab.ledger.layout import Kind
from weightslab.ledger.pins import Pins

__all__ = ["History"]

_TAIL_GROUP = 1 << 14
"""Rows of a tail whose samples are looked at as if they lay evenly."""


class History:
    """Partitions of one writer. Every method holds `lock`, which is reentrant.

    Args:
        settle: sorts what was logged into the tails; called under the lock.
        foreign: another process's, as its files were at one moment.
    """

    def __init__(
        self,
        lock: RLock,
        settle: Callable[[], None],
        *,
        pins: Pins,
        reader: SegmentReader,
        on_damage: Callable[[str, OSError], None],
        foreign: bool,
    ) -> None:
        self.lock = lock
        self.partitions: dict[PartitionKey, Partition] = {}
        self._settle = settle
        self._pins = pins
        self._reader = reader
        self._on_damage = on_damage
        self._foreign = foreign

    def partition(self, key: PartitionKey) -> Partition:
        """The partition of a key, made when it is missing."""
        found = self.partitions.get(key)
        if found is None:
            found = self.partitions[key] = Partition(key)
        return found

    def signal_names(self, kind: Kind) -> list[str]:
        """Names of the signals that have values at a layer, in order of first use."""
        with self.lock:
            self._settle()
            return list(dict.fromkeys(k.signal for k in self.partitions if k.kind == kind))

    def read(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> list[tuple[PartitionKey, Chunk]]:
        """Columns of every partition that was asked for, sorted by sample; curves by step.

        `rows` (sorted, each once) restricts to those samples; it has no meaning for curves.

        Raises:
            FileNotFoundError: this is another process's state, and files that it speaks of
                were merged away meanwhile: look at that process anew.
        """
        with self._looking(kind, signals, hashes) as looks:
            return [
                (look.key, _assemble(kind, [*self._chunks(look, rows), look.tail], rows))
                for look in looks
            ]

    def scan(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
        columns: Collection[str] | None = None,
        after: int = 0,
    ) -> Iterator[tuple[PartitionKey, Chunk]]:
        """What `read` gives, in pieces of bounded size: each sorted by sample, oldest first.

        `columns` are those that are needed: others may be left out. Segments without a record
        after the number `after` are left out.

        Raises FileNotFoundError as `read` does.
        """
        with self._looking(kind, signals, hashes) as looks:
            for look in looks:
                for segment in (held for held in look.segments if held.lsn > after):
                    try:
                        for chunk in self._reader.groups(segment, kind, columns):
                            yield look.key, chunk
                    except (OSError, ValueError) as error:
                        self._missed(segment, error)
                if len(look.tail):
                    yield look.key, look.tail

    def sweep(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
        most_rows: int = 1 << 20,
    ) -> Iterator[tuple[PartitionKey, Chunk]]:
        """What `read` gives, in the same order, in pieces of about `most_rows`.

        Raises FileNotFoundError as `read` does.
        """
        with self._looking(kind, signals, hashes) as looks:
            for look in looks:
                for rows in self._shares(look, most_rows):
                    chunks = [*self._chunks(look, rows), look.tail]
                    yield look.key, _assemble(kind, chunks, rows)

    @contextmanager
    def curve(
        self, signal: str, hashes: Iterable[str | None] | None
    ) -> Iterator[list[tuple[PartitionKey, list[CurvePiece]]]]:
        """The pieces of a signal's curve, oldest first; they are readable meanwhile.

        Raises FileNotFoundError as `read` does.
        """
        with self._looking("global", [signal], hashes) as looks:
            yield [(look.key, list(self._pieces(look))) for look in looks]

    def _pieces(self, look: _Look) -> Iterator[CurvePiece]:
        for segment in look.segments:
            try:
                blocks = self._reader.blocks(segment)
            except (OSError, ValueError) as error:
                self._missed(segment, error)
            else:
                yield CurvePiece(blocks, partial(self._points, segment))
        tail = fold_curve(look.tail)
        yield CurvePiece(blocks_of(tail), lambda _lows, _highs: tail)

    def _points(
        self, segment: Segment, lows: npt.NDArray[np.int64], highs: npt.NDArray[np.int64]
    ) -> Chunk:
        try:
            return self._reader.steps(segment, lows, highs)
        except (OSError, ValueError) as error:
            self._missed(segment, error)
            return Chunk.empty("global")

    @contextmanager
    def held(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
    ) -> Iterator[None]:
        """Another process's samples or instances can be read meanwhile, merged away or not.

        Raises FileNotFoundError as `read` does, at once. Curves are small: they are read whole.
        """
        with ExitStack() as stack:
            if self._foreign:
                with self.lock:
                    chosen = self._chosen(kind, signals, hashes)
                paths = (segment.path for _, segments, _ in chosen for segment in segments)
                stack.enter_context(self._reader.held(paths))
            yield

    @contextmanager
    def _looking(
        self, kind: Kind, signals: Iterable[str] | None, hashes: Iterable[str | None] | None
    ) -> Iterator[list[_Look]]:
        """The partitions that were asked for as they stand now; their files stay meanwhile."""
        with ExitStack() as stack:
            with self.lock:
                chosen = self._chosen(kind, signals, hashes)
                paths = [segment.path for _, segments, _ in chosen for segment in segments]
                stack.enter_context(self._pins.pinned(paths))
            yield [self._look(*choice) for choice in chosen]

    def _chosen(
        self, kind: Kind, signals: Iterable[str] | None, hashes: Iterable[str | None] | None
    ) -> list[tuple[Partition, list[Segment], tuple[Chunk | None, list[Entry], int]]]:
        wanted = None if signals is None else set(signals)
        wanted_hashes = None if hashes is None else set(hashes)
        self._settle()
        return [
            (partition, list(partition.segments), partition.tail_parts())
            for key, partition in self.partitions.items()
            if key.kind == kind
            and (wanted is None or key.signal in wanted)
            and (wanted_hashes is None or key.experiment_hash in wanted_hashes)
        ]

    def _look(
        self,
        partition: Partition,
        segments: list[Segment],
        parts: tuple[Chunk | None, list[Entry], int],
    ) -> _Look:
        """A partition with its tail sorted."""
        kind = partition.key.kind
        tail, fresh, entries = parts
        if fresh or tail is None:
            new = chunk_of(kind, fresh)
            tail = sort_chunk(new if tail is None else concat_chunks(kind, [tail, new]))
            with self.lock:
                if partition.segments[-1:] == segments[-1:]:
                    partition.settle(tail, entries)
        return _Look(partition.key, segments, tail)

    def _shares(self, look: _Look, most_rows: int) -> Iterator[npt.NDArray[np.int64] | None]:
        """Samples of a partition in shares of about `most_rows` values; None: all at once."""
        kind = look.key.kind
        total = len(look.tail) + sum(segment.rows for segment in look.segments)
        if kind == "global" or total <= most_rows:
            yield None
            return
        edges = [_edges_of(look.tail)] if len(look.tail) else []
        for segment in look.segments:
            try:
                edges.append(self._reader.edges(segment, kind))
            except (OSError, ValueError):
                # Whoever reads it says so; its samples are asked for all the same.
                last = max(0, segment.samples - 1)
                edges.append((np.zeros(1, np.int64), np.array([last]), np.array([segment.rows])))
        for low, high in windows(edges, most_rows):
            yield np.arange(low, high, dtype=np.int64)

    def _chunks(self, look: _Look, rows: npt.NDArray[np.int64] | None) -> list[Chunk]:
        """What the segments of a look hold; those that are damaged are named and left out."""
        kind = look.key.kind
        chunks = []
        for segment in look.segments:
            try:
                if rows is None or kind == "global":
                    chunks.append(self._reader.whole(segment, kind))
                elif len(rows):
                    chunks.append(self._reader.of_rows(segment, kind, rows))
            except (OSError, ValueError) as error:
                self._missed(segment, error)
        return chunks

    def _missed(self, segment: Segment, error: Exception) -> None:
        self.missed(segment.path, error)

    def missed(self, path: Path, error: Exception) -> None:
        """A file that cannot be read: damaged, unless its writer merged it away."""
        if self._foreign and isinstance(error, FileNotFoundError):
            raise error
        self._on_damage(str(path), error if isinstance(error, OSError) else OSError(str(error)))


@dataclass(frozen=True, slots=True)
class _Look:
    """A partition at one moment."""

    key: PartitionKey
    segments: list[Segment]
    tail: Chunk
    """What is not in a segment yet, sorted."""


def _edges_of(tail: Chunk) -> Edges:
    """As if the rows of a tail stood in row groups."""
    sample = tail.columns["sample"].astype(np.int64)
    starts = np.arange(0, len(sample), _TAIL_GROUP)
    ends = np.append(starts[1:], len(sample))
    return sample[starts], sample[ends - 1], ends - starts


def _assemble(kind: Kind, chunks: list[Chunk], rows: npt.NDArray[np.int64] | None) -> Chunk:
    if kind == "global":
        return fold_curve(concat_chunks(kind, chunks))
    if rows is not None:
        chunks[-1] = take_rows(chunks[-1], rows)
    held = [chunk for chunk in chunks if len(chunk)]
    whole = concat_chunks(kind, held)
    if len(held) < 2 or (kind == "sample" and rows is not None and len(rows) == 1):
        return whole
    return sort_chunk(whole)
