"""The history of signals as one file: curves, samples and instances."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import polars as pl

from weightslab.export.formats import (
    PIECEWISE,
    append_csv,
    append_json_rows,
    json_objects,
    write_whole,
)
from weightslab.export.naming import (
    Filter,
    annotation_numbers,
    automatic_name,
    checked_format,
    hash_filter,
    kinds_of,
    names,
    say_unknown,
    signal_names,
    target_path,
)

__all__ = ["HistoryFilters", "HistorySource", "write_history_frames"]


class HistorySource(Protocol):
    """Gives the rows of one layer in pieces; each filter a list, or None for all.

    A frame has signal, experiment_hash, step and value, with sample_id for
    "sample" and "instance", and annotation_id for "instance".
    """

    def __call__(
        self,
        kind: str,
        *,
        signals: list[str] | None,
        sample_ids: list[str] | None,
        annotation_ids: list[int] | None,
        hashes: list[str] | None,
    ) -> Iterable[pl.DataFrame]:
        """Rows of layer `kind`, in order of signal, then arrival."""


@dataclass(frozen=True, slots=True)
class HistoryFilters:
    """What a history export keeps, in normal form; None keeps all."""

    kinds: tuple[str, ...]
    signals: list[str] | None
    experiment_hash: str | None
    sample_ids: list[str] | None
    annotation_ids: list[int] | None

    def as_words(self) -> dict[str, Filter]:
        """The filters that name the file.

        A hash that was not given follows the run, so it is neither "all" nor a hash.
        """
        return {
            "type_of_history": "all" if len(self.kinds) > 1 else self.kinds[0],
            "graph_name": "all" if self.signals is None else self.signals,
            "experiment_hash": self.experiment_hash,
            "sample_id": "all" if self.sample_ids is None else self.sample_ids,
            "instance_id": "all" if self.annotation_ids is None else self.annotation_ids,
        }


# The seed's columns, and what each is called in a frame of the ledger.
_SIGNAL = {"graph_name": "signal", "experiment_hash": "experiment_hash"}
_VALUE = {"step": "step", "metric_value": "value"}
_OBJECT = {
    "global": _SIGNAL | _VALUE,
    "sample": _SIGNAL | {"sample_id": "sample_id"} | _VALUE,
    "instance": _SIGNAL | {"sample_id": "sample_id", "annotation_id": "annotation_id"} | _VALUE,
}
_ROW = {
    "type": pl.String(),
    "graph_name": pl.String(),
    "experiment_hash": pl.String(),
    "step": pl.Int64(),
    "metric_value": pl.Float64(),
    "sample_id": pl.String(),
    "annotation_id": pl.Int32(),
}


def write_history_frames(
    source: HistorySource,
    *,
    path: str | os.PathLike[str] | None = None,
    format: str = "json",
    type_of_history: str | None = None,
    graph_name: object = None,
    experiment_hash: str | None = None,
    sample_id: object = None,
    instance_id: object = None,
    default_dir: Path,
    current_hash: str | None,
    warn: Callable[[str], None],
) -> Path:
    """Write the layers of history that the arguments select; the file's path.

    One piece of a layer is in memory at a time.

    Raises:
        UnknownOptionError: a format or type of history that does not exist.
        InputError: a filter or path that cannot be used; nothing was written.
    """
    filters = HistoryFilters(
        kinds=kinds_of(type_of_history),
        signals=signal_names(graph_name),
        experiment_hash=experiment_hash,
        sample_ids=names(sample_id, "sample_id"),
        annotation_ids=annotation_numbers(instance_id),
    )
    hashes = hash_filter(experiment_hash, current_hash)
    name = automatic_name(filters.as_words(), "history", checked_format(format))
    target = target_path(path, name, default_dir)
    sections = _Sections(source, filters, hashes)
    written = write_whole(target, lambda file: _WRITERS[format](file, sections))
    for message in sections.unknown():
        warn(f"{message} in {written}")
    return written


class _Sections:
    """The selected layers, read one after the other; remembers what had rows."""

    def __init__(
        self, source: HistorySource, filters: HistoryFilters, hashes: list[str] | None
    ) -> None:
        self._source = source
        self._filters = filters
        self._hashes = hashes
        self._wanted: dict[str, list[str] | list[int]] = {}
        self._seen: dict[str, set[object]] = {}

    def __iter__(self) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
        """Pairs of layer and its pieces, in the ledger's columns."""
        for kind in self._filters.kinds:
            yield kind, self._pieces(kind)

    def _pieces(self, kind: str) -> Iterator[pl.DataFrame]:
        samples = None if kind == "global" else self._filters.sample_ids
        annotations = self._filters.annotation_ids if kind == "instance" else None
        pieces = self._source(
            kind,
            signals=self._filters.signals,
            sample_ids=samples,
            annotation_ids=annotations,
            hashes=self._hashes,
        )
        asked: dict[str, list[str] | list[int] | None] = {
            "signal": self._filters.signals,
            "experiment_hash": self._named_hash(),
            "sample_id": samples,
            "annotation_id": annotations,
        }
        for column, wanted in asked.items():
            if wanted is not None:
                self._wanted[column] = wanted
                self._seen.setdefault(column, set())
        for frame in pieces:
            for column, wanted in asked.items():
                if wanted is not None:
                    self._seen[column].update(frame[column].unique())
            yield frame

    def _named_hash(self) -> list[str] | None:
        """The hash that the caller named; a run without rows yet is no surprise."""
        return None if self._filters.experiment_hash is None else self._hashes

    def unknown(self) -> Iterator[str]:
        """Sentences on what was asked for and was found in no layer."""
        for column, wanted in self._wanted.items():
            message = say_unknown(_SPOKEN[column], wanted, self._seen[column])
            if message is not None:
                yield message


_SPOKEN = {
    "signal": "graph_name",
    "experiment_hash": "experiment_hash",
    "sample_id": "sample_id",
    "annotation_id": "instance_id",
}


def _json(file: BinaryIO, sections: _Sections) -> None:
    for number, (kind, pieces) in enumerate(sections):
        file.write(f'{"," if number else "{"}\n"{kind}": '.encode())
        rows = (
            frame.select(pl.col(old).alias(new) for new, old in _OBJECT[kind].items())
            for frame in pieces
        )
        append_json_rows(file, rows, json_objects)
    file.write(b"\n}\n")


def _csv(file: BinaryIO, sections: _Sections) -> None:
    append_csv(file, pl.DataFrame(schema=_ROW), header=True)
    for rows in _all_rows(sections):
        append_csv(file, rows, header=False)


def _columnar(format: str) -> Callable[[BinaryIO, _Sections], None]:
    def write(file: BinaryIO, sections: _Sections) -> None:
        PIECEWISE[format](pl.DataFrame(schema=_ROW), _all_rows(sections), file)

    return write


def _all_rows(sections: _Sections) -> Iterator[pl.DataFrame]:
    for kind, pieces in sections:
        for frame in pieces:
            yield _as_rows(kind, frame)


def _as_rows(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """A layer in the columns that all layers share, null where they do not apply."""
    old = _OBJECT[kind] | {"type": ""}
    return frame.select(
        (
            pl.lit(kind)
            if new == "type"
            else pl.col(old[new])
            if new in old
            else pl.lit(None, dtype=dtype)
        )
        .cast(dtype)
        .alias(new)
        for new, dtype in _ROW.items()
    )


_WRITERS: dict[str, Callable[[BinaryIO, _Sections], None]] = {
    "json": _json,
    "csv": _csv,
    **{name: _columnar(name) for name in PIECEWISE},
}
