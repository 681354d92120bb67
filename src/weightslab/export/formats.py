"""Frames as JSON, CSV, Parquet or Arrow files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.errors import InputError

__all__ = ["COLUMNAR", "PIECEWISE", "append_csv", "append_json_rows", "json_objects", "write_whole"]

_OLDEST = pl.CompatLevel.oldest()
"""Without Polars' own string views, which older readers of Arrow refuse."""

COLUMNAR: Mapping[str, Callable[[pl.DataFrame, BinaryIO], object]] = {
    "parquet": lambda frame, file: frame.write_parquet(file),
    "arrow": lambda frame, file: frame.write_ipc(file, compat_level=_OLDEST),
}
"""Formats that take one frame as it is."""


def _parquet_pieces(empty: pl.DataFrame, frames: Iterable[pl.DataFrame], file: BinaryIO) -> None:
    schema = empty.to_arrow(compat_level=_OLDEST).schema
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for frame in frames:
            writer.write_table(frame.to_arrow(compat_level=_OLDEST))


def _arrow_pieces(empty: pl.DataFrame, frames: Iterable[pl.DataFrame], file: BinaryIO) -> None:
    schema = empty.to_arrow(compat_level=_OLDEST).schema
    with pa.ipc.new_file(file, schema) as writer:
        for frame in frames:
            writer.write_table(frame.to_arrow(compat_level=_OLDEST))


PIECEWISE: Mapping[str, Callable[[pl.DataFrame, Iterable[pl.DataFrame], BinaryIO], None]] = {
    "parquet": _parquet_pieces,
    "arrow": _arrow_pieces,
}
"""Formats that take frames one after the other; the first argument has their columns."""

# Rows that are text at once: small enough to stay in the cache, and to bound the memory.
_JSON_ROWS = 16_384

Encoder = Callable[[pl.DataFrame], pl.Series]
"""Gives one JSON object, as text, for each row of a frame."""


def write_whole(target: Path, write: Callable[[BinaryIO], None]) -> Path:
    """Let `write` fill `target`, which appears by one rename when all of it is on disk.

    Folders are made. Nothing remains of a write that fails.
    """
    # A rename onto a link would replace the link instead of what it points to.
    real = Path(os.path.realpath(target))
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"cannot make the folder {str(real.parent)!r}, since a file stands in its way: "
            "give a file name with an extension, or another folder"
        ) from error
    part = real.with_name(f".weightslab-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(real)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return target


def append_csv(file: BinaryIO, frame: pl.DataFrame, *, header: bool) -> None:
    """Write rows as CSV: null is empty, booleans are True and False, NaN is nan."""
    frame.with_columns(_spelled(column) for column in frame).write_csv(file, include_header=header)


def _spelled(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        return column.replace_strict({True: "True", False: "False"}, return_dtype=pl.String)
    if column.dtype.is_float() and column.is_nan().any():
        return column.cast(pl.String).replace({"NaN": "nan"})
    return column


def append_json_rows(
    file: BinaryIO, frames: Iterable[pl.DataFrame], encode: Encoder, *, indent: str = ""
) -> None:
    """Write the rows of all frames as the items of a JSON array, one on a line."""
    file.write(b"[")
    separator = f",\n{indent}"
    number = -1
    for number, text in enumerate(_blocks(frames, encode, separator)):
        file.write((separator if number else f"\n{indent}").encode())
        file.write(text.encode())
    file.write(b"]" if number < 0 else b"\n]")


def _blocks(frames: Iterable[pl.DataFrame], encode: Encoder, separator: str) -> Iterator[str]:
    for frame in frames:
        for start in range(0, frame.height, _JSON_ROWS):
            yield encode(frame.slice(start, _JSON_ROWS)).str.join(separator).item()


def json_objects(frame: pl.DataFrame) -> pl.Series:
    """One strict JSON object per row, String [rows]: NaN and infinities become null."""
    return frame.select(pl.struct(pl.all()).struct.json_encode().alias("json")).to_series()
