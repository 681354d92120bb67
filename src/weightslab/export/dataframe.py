"""The sample table as one file: a row per sample, and one per instance."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import polars as pl

from weightslab.errors import UnknownOptionError
from weightslab.export.formats import (
    COLUMNAR,
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
    names,
    say_unknown,
    target_path,
)

__all__ = ["chosen_columns", "layers_of", "write_dataframe_frame"]

_INDEX = ("sample_id", "annotation_id")
_GROUPS: Mapping[str, Callable[[str], bool]] = {
    "all": lambda column: True,  # noqa: ARG005 - one of a table of predicates
    "tags": lambda column: column.startswith("tag:"),
    "signals": lambda column: column.startswith(("signals//", "signals_")),
    "discarded": lambda column: column == "discarded",
}
# Kept as JSON text in the frame wherever a sample's value is not one number.
_JSON_TEXT = ("target", "prediction", "prediction_raw")


def write_dataframe_frame(
    frame: pl.DataFrame,
    *,
    path: str | os.PathLike[str] | None = None,
    format: str = "json",
    columns: object = None,
    sample_id: object = None,
    instance_id: object = None,
    default_dir: Path,
    layers: Mapping[str, Collection[str]] | None = None,
    warn: Callable[[str], None],
) -> Path:
    """Write the sample table, or the part that the arguments select; the file's path.

    Samples stand in the order of `frame`, each followed by its instances.
    `layers` says which signal columns the "sample" and the "instance" rows own; when
    it is not given, those in which such rows have values.

    Raises:
        UnknownOptionError: a format or column that does not exist.
        InputError: a filter or path that cannot be used; nothing was written.
    """
    chosen = names(columns, "columns")
    sample_ids = names(sample_id, "sample_id")
    annotations = annotation_numbers(instance_id)
    words: dict[str, Filter] = {
        "columns": "all" if chosen is None or "all" in chosen else chosen,
        "sample_id": "all" if sample_ids is None else sample_ids,
        "instance_id": "all" if annotations is None else annotations,
    }
    name = automatic_name(words, "dataframe", checked_format(format))
    target = target_path(path, name, default_dir)
    kept = frame.select(chosen_columns(frame.columns, chosen))
    owned = layers_of(kept) if layers is None else layers
    messages: list[str | None] = []
    if sample_ids is not None:
        kept = kept.filter(pl.col("sample_id").is_in(sample_ids))
        messages.append(say_unknown("sample_id", sample_ids, set(kept["sample_id"].unique())))
    if annotations is not None:
        kept = kept.filter(pl.col("annotation_id").is_in(annotations))
        found = set(kept["annotation_id"].unique())
        messages.append(say_unknown("instance_id", annotations, found))
    ordered = _beside_their_samples(kept)
    written = write_whole(target, lambda file: _write(file, ordered, format, owned))
    for message in filter(None, messages):
        warn(f"{message} in {written}")
    return written


def chosen_columns(available: Sequence[str], chosen: Sequence[str] | None) -> list[str]:
    """Columns to write, the two of the index first, the others in the table's order.

    A name may be a group (all, tags, signals, discarded) or a column; a signal is
    found as `signals//loss`, `signals_loss` and `loss`.
    """
    wanted: set[str] = set()
    for name in ["all"] if chosen is None else chosen:
        if name in _GROUPS:
            wanted.update(filter(_GROUPS[name], available))
        else:
            wanted.add(_column(name, available))
    others = [column for column in available if column in wanted and column not in _INDEX]
    return [*_INDEX, *others]


def _beside_their_samples(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of instances after the row of their sample; samples in the order of the table."""
    if (frame["annotation_id"] == 0).all():
        return frame
    keys = frame.select(_INDEX).with_row_index("row")
    first = pl.col("row").min().over("sample_id")
    return frame[keys.select(pl.arg_sort_by(first, "annotation_id")).to_series()]


def layers_of(frame: pl.DataFrame) -> dict[str, set[str]]:
    """Signal columns that the "sample" and the "instance" rows of a table have values in."""
    signals = [column for column in frame.columns if _GROUPS["signals"](column)]
    is_sample = frame["annotation_id"] == 0
    return {
        layer: {column for column in signals if (frame[column].is_not_null() & rows).any()}
        for layer, rows in (("sample", is_sample), ("instance", ~is_sample))
    }


def _column(name: str, available: Sequence[str]) -> str:
    spellings = (name, f"signals//{name.removeprefix('signals_')}", f"signals//{name}")
    for spelling in spellings:
        if spelling in available:
            return spelling
    raise UnknownOptionError("column", name, {*_GROUPS, *available})


def _write(
    file: BinaryIO,
    frame: pl.DataFrame,
    format: str,
    layers: Mapping[str, Collection[str]],
) -> None:
    if format == "json":
        append_json_rows(file, [frame], partial(_objects_of_layers, layers=layers))
        file.write(b"\n")
    elif format == "csv":
        append_csv(file, frame, header=True)
    else:
        COLUMNAR[format](frame, file)


def _objects_of_layers(frame: pl.DataFrame, layers: Mapping[str, Collection[str]]) -> pl.Series:
    """One JSON object per row; of the signals, a row carries those of its own layer."""
    is_sample = frame["annotation_id"] == 0
    order = pl.concat([is_sample.arg_true(), (~is_sample).arg_true()])
    parts = [
        _objects(frame.filter(rows).drop(_foreign(frame.columns, layers, own, other)))
        for rows, own, other in (
            (is_sample, "sample", "instance"),
            (~is_sample, "instance", "sample"),
        )
    ]
    return pl.concat(parts).gather(order.arg_sort())


def _foreign(
    columns: Sequence[str], layers: Mapping[str, Collection[str]], own: str, other: str
) -> list[str]:
    foreign = set(layers.get(other, ())) - set(layers.get(own, ()))
    return [column for column in columns if column in foreign]


def _objects(frame: pl.DataFrame) -> pl.Series:
    """JSON objects in which text that is an array or a number stands as such."""
    texts = [name for name in _JSON_TEXT if frame.schema.get(name) == pl.String]
    plain = json_objects(frame.drop(texts))
    if not texts:
        return plain
    pieces = [_member(frame[name]) for name in texts]
    return (
        pl.DataFrame([plain, *pieces])
        .select(
            (pl.concat_str(pl.col("json").str.head(-1), *texts, separator=",") + "}").alias("json")
        )
        .to_series()
    )


_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?"
_ATOM = rf"(?:{_NUMBER}|null|true|false)"
# Brackets do not nest in a regular expression: tokens in any order, then no two without a comma.
_ARRAY = rf"\[(?:\s|,|\[|\]|{_ATOM})*\]"
_NO_ARRAY = r"[\w\]]\s+[\w\[-]|\]\s*[\[\w-]|[\[,]\s*,|,\s*\]|\w\s*\["


def _member(text: pl.Series) -> pl.Series:
    """`"name": value` for each row; what is not an array or a number stays a string."""
    strict = pl.col(text.name).str.replace_all(r"-?\b(?:NaN|nan|Infinity|inf)\b", "null")
    quoted = pl.struct(pl.col(text.name)).struct.json_encode().str.head(-1).str.tail(-1)
    is_json = strict.str.contains(rf"^(?:{_ATOM}|{_ARRAY})$") & ~strict.str.contains(_NO_ARRAY)
    return (
        text.to_frame()
        .select(
            pl.when(is_json)
            .then(pl.concat_str(pl.lit(f'"{text.name}":'), strict))
            .otherwise(quoted)
            .alias(text.name)
        )
        .to_series()
    )
