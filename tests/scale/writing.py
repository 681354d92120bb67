"""The phases that write: fill a run, merge it, edit it, log a long curve."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.scale.data import Shape, batches
from tests.scale.measuring import Peak, median_s, row, seconds, show_s, size_of
from weightslab.ledger import Ledger

__all__ = ["CURVE", "LOSS", "SCORE", "TAG", "bare", "curve", "edit", "fill", "merge"]

LOSS, SCORE, CURVE, TAG = "loss", "score", "lr", "hard"
_SCORE_EVERY = 10
"""Every so many epochs a second signal is saved, for the export."""
_VALUES = "history/kind=sample"
_MOST_WAITING = 500_000
"""Rows of one flush: as many as make one due in a training run."""
_BUCKETS = 2_000


def fill(root: Path, shape: Shape) -> None:
    """Save everything through the ledger; note what must be found in `truth.json`."""
    ledger = Ledger(root)
    peak = Peak()
    registering_s = seconds(lambda: ledger.register("train", range(shape.samples)))
    rows = ledger.register("train", range(shape.samples))
    row(f"register {shape.samples:,} samples", f"{show_s(registering_s)}, {peak.mib():.0f} MiB")
    means = np.zeros(shape.epochs)
    by_sample = np.zeros(shape.samples)

    def save() -> None:
        for batch in batches(shape):
            signals = {LOSS: batch.losses}
            if batch.epoch % _SCORE_EVERY == 0:
                signals[SCORE] = 1 - batch.losses
            ledger.append_samples(signals, rows[batch.samples], step=batch.step)
            means[batch.epoch] += batch.losses.sum(dtype=np.float64)
            by_sample[batch.samples] += batch.losses
            # No training run is this fast: wait as a slow disk would make it wait.
            if ledger.status()["waiting_rows"] > _MOST_WAITING:
                ledger.flush()
        ledger.flush()

    taken_s = seconds(save)
    saved = shape.rows + -(-shape.epochs // _SCORE_EVERY) * shape.samples
    stored, files = size_of(root / _VALUES)
    row(
        "save until it is Parquet",
        f"{saved / taken_s / 1e6:.2f}M rows/s, {stored / saved:.2f} B/row, {files} files",
        f"pyarrow {_bare_rate(root) / 1e6:.2f}M rows/s, {_bare_size(root):.2f} B/row",
    )
    row(f"peak memory, {saved:,} rows", f"{peak.mib():.0f} MiB above the start")
    assert not ledger.notices.messages(), ledger.notices.messages()
    row("close", show_s(seconds(ledger.close)))
    worst = np.argsort(-by_sample)[:10]
    truth = {
        "count": shape.rows,
        "means": (means / shape.samples).tolist(),
        "worst": [f"train/{place}" for place in worst],
        "tagged": by_sample[: _tagged(shape)].sum() / (_tagged(shape) * shape.epochs),
    }
    (root.parent / "truth.json").write_text(json.dumps(truth))


def bare(root: Path, shape: Shape) -> None:
    """The floor of `fill`: the same batches, made the same way, in one file of plain pyarrow."""
    schema = pa.schema([("sample", pa.int32()), ("step", pa.int64()), ("value", pa.float64())])
    path = root.parent / "bare.parquet"

    def save() -> None:
        with pq.ParquetWriter(path, schema, compression="ZSTD", compression_level=1) as writer:
            held: list[pa.RecordBatch] = []
            for batch in batches(shape):
                n = len(batch.samples)
                columns = [
                    pa.Array.from_buffers(kind, n, [None, pa.py_buffer(np.ascontiguousarray(data))])
                    for kind, data in (
                        (pa.int32(), batch.samples),
                        (pa.int64(), np.full(n, batch.step)),
                        (pa.float64(), batch.losses.astype(np.float64)),
                    )
                ]
                held.append(pa.RecordBatch.from_arrays(columns, schema=schema))
                if len(held) == 64:
                    writer.write_table(pa.Table.from_batches(held))
                    held.clear()
            if held:
                writer.write_table(pa.Table.from_batches(held))
        with path.open("rb") as file:
            os.fsync(file.fileno())

    taken_s = seconds(save)
    floor = {"rate": shape.rows / taken_s, "size": path.stat().st_size / shape.rows}
    (root.parent / "bare.json").write_text(json.dumps(floor))
    path.unlink()


def _bare_rate(root: Path) -> float:
    return float(json.loads((root.parent / "bare.json").read_text())["rate"])


def _bare_size(root: Path) -> float:
    return float(json.loads((root.parent / "bare.json").read_text())["size"])


def merge(root: Path, *, archive: bool) -> None:
    """Merge what is due, or everything into the archive."""
    what = "merge into the archive" if archive else "merge what is due"
    if not hasattr(Ledger, "compact"):
        row(what, "not in this version")
        return
    before = _rows_by_file(root)
    floor_s = seconds(lambda: _rewrite(root))
    ledger = Ledger(root)
    peak = Peak()
    taken_s = seconds(lambda: ledger.compact(archive=archive))
    mib = peak.mib()
    ledger.close()
    after = _rows_by_file(root)
    assert sum(before.values()) == sum(after.values()), "merging changed the number of rows"
    total = sum(before.values())
    merged = sum(rows for path, rows in before.items() if path not in after)
    rate = f"{merged:,} rows, {merged / taken_s / 1e6:.2f}M rows/s, {mib:.0f} MiB"
    row(
        what,
        rate if merged else "nothing was due any more",
        f"pyarrow rewrites {total / floor_s / 1e6:.2f}M rows/s",
    )
    size, _ = size_of(root / _VALUES)
    row("files of the history", f"{len(before)}, then {len(after)}; {size / total:.2f} B/row")


def _rows_by_file(root: Path) -> dict[Path, int]:
    return {path: pq.read_metadata(path).num_rows for path in (root / _VALUES).rglob("*.parquet")}


def _rewrite(root: Path) -> None:
    """Every row group read and written again, in the order in which it stands."""
    path = root.parent / "rewritten.parquet"
    for source in (root / _VALUES).rglob("*.parquet"):
        with (
            pq.ParquetFile(source) as file,
            pq.ParquetWriter(
                path, file.schema_arrow, compression="ZSTD", compression_level=1
            ) as writer,
        ):
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, use_threads=False))
    path.unlink()


def _tagged(shape: Shape) -> int:
    return shape.samples // 10


def edit(root: Path, shape: Shape) -> None:
    """Open for writing, tag a tenth of the samples, look at recent values, close."""
    ledger: Ledger | None = None

    def open_it() -> None:
        nonlocal ledger
        ledger = Ledger(root)

    row("open to write", show_s(seconds(open_it)))
    assert ledger is not None
    rows = ledger.register("train", range(shape.samples))
    n = _tagged(shape)
    taken_s = seconds(lambda: ledger.edit.tag(rows[:n], TAG, True))
    floor_s = median_s(lambda: _mask(root.parent / "mask", shape.samples, n))
    row(
        f"tag {n:,} of {shape.samples:,}, durable",
        show_s(taken_s),
        f"mask, fsync {show_s(floor_s)}",
    )
    recent = getattr(ledger, "recent", None)
    if recent is None:
        row("recent values of 256 samples", "not in this version")
    else:
        some = np.random.default_rng(0).choice(rows, 256, replace=False)
        first_s = seconds(lambda: recent(LOSS, some))
        row(
            "recent values of 256 samples",
            f"{show_s(median_s(lambda: recent(LOSS, some), rounds=50))}, first {show_s(first_s)}",
        )
    row("close: snapshot of the sample table", show_s(seconds(ledger.close)))


def _mask(path: Path, samples: int, n: int) -> None:
    mask = np.zeros(samples, np.bool_)
    mask[:n] = True
    with path.open("wb") as file:
        file.write(mask.tobytes())
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def curve(root: Path, points: int) -> None:
    """Log a long curve, then thin it to what a screen shows."""
    ledger = Ledger(root)
    values = np.random.default_rng(0).standard_normal(points).cumsum()

    def save() -> None:
        for step, value in enumerate(values.tolist()):
            ledger.append_scalars({CURVE: value}, step=step)
        ledger.flush()

    taken_s = seconds(save)
    row(f"log a curve of {points:,} points", f"{points / taken_s / 1e3:.0f}k scalars/s")
    ledger.close()
    if importlib.util.find_spec("weightslab.queries.curves") is None:
        row(f"{points:,} points in {_BUCKETS:,} buckets", "not in this version")
        return
    from weightslab.queries.curves import curve_buckets

    reader = Ledger(root, mode="r")
    first_s = seconds(lambda: curve_buckets(reader, CURVE, buckets=_BUCKETS))
    warm_s = median_s(lambda: curve_buckets(reader, CURVE, buckets=_BUCKETS))
    starts = np.linspace(0, points, _BUCKETS, endpoint=False).astype(np.int64)
    floor_s = median_s(
        lambda: [f.reduceat(values, starts) for f in (np.minimum, np.maximum, np.add)]
    )
    row(
        f"{points:,} points in {_BUCKETS:,} buckets",
        f"{show_s(warm_s)}, first {show_s(first_s)}",
        f"numpy in memory {show_s(floor_s)}",
    )
