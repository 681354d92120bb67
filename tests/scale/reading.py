"""The phases that read: one sample, many, all, the table, an export, the check."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl

import weightslab as wl
from tests.scale.data import Shape
from tests.scale.measuring import Peak, forget_pages, median_s, row, seconds, show_s
from tests.scale.writing import LOSS, SCORE
from weightslab.ledger import Ledger

__all__ = ["check_folder", "export", "of_all", "of_one", "of_some", "open_folder", "table"]

_COLD = 5
"""How many samples are asked for with no value of the folder in memory, ours or the kernel's."""


def open_folder(root: Path) -> None:
    """Open for reading, until every writer's state is known."""
    forget_pages(root)
    peak = Peak()
    taken_s = seconds(lambda: Ledger(root, mode="r").views())
    families = root / "samples/family=signals"
    floor_s = seconds(lambda: [pl.read_parquet(path) for path in families.rglob("*.parquet")])
    row(
        "open to read, all of it known",
        f"{show_s(taken_s)}, {peak.mib():.0f} MiB",
        f"Polars reads the table {show_s(floor_s)}",
    )


def _pattern(root: Path, signal: str = LOSS) -> str:
    return f"{root}/history/kind=sample/*/signal={signal}/**/*.parquet"


def of_one(root: Path, shape: Shape) -> None:
    """One sample's trajectory: ours cold and warm, by plain Polars and by DuckDB."""
    draw = np.random.default_rng(1)
    places = iter(draw.integers(0, shape.samples, 10_000).tolist())

    def ask() -> None:
        found = wl.query_sample_history(f"train/{next(places)}", signal_name=LOSS)
        assert len(found) == shape.epochs, f"expected {shape.epochs} values, got {len(found)}"

    cold = []
    for _ in range(_COLD):
        with wl.Session(root, mode="r") as session:
            session.ledger.views()
            forget_pages(root)
            cold.append(seconds(ask))
    with wl.Session(root, mode="r"):
        warm_s = median_s(ask, rounds=50)
    lazy = pl.scan_parquet(_pattern(root), hive_partitioning=False)
    polars_s = median_s(lambda: lazy.filter(pl.col("sample") == next(places)).collect())
    question = f"select step, value from read_parquet('{_pattern(root)}') where sample = ?"
    duckdb_s = median_s(lambda: duckdb.execute(question, [next(places)]).fetchall())
    row(
        "one sample's trajectory, warm",
        show_s(warm_s),
        f"Polars {show_s(polars_s)}, DuckDB {show_s(duckdb_s)}",
    )
    row("one sample's trajectory, cold disk", show_s(float(np.median(cold))))


def of_some(root: Path, shape: Shape) -> None:
    """The whole history of 256 samples."""
    some = np.random.default_rng(2).choice(shape.samples, 256, replace=False)
    rows = np.sort(some).astype(np.int64)
    names = [f"train/{place}" for place in rows]
    lazy = pl.scan_parquet(_pattern(root), hive_partitioning=False)
    floor_s = median_s(lambda: lazy.filter(pl.col("sample").is_in(rows.tolist())).collect())
    with wl.Session(root, mode="r") as session:
        (view,) = session.ledger.views()

        def columns() -> None:
            found = sum(
                len(c) for _, c in view.store.history.read("sample", signals=[LOSS], rows=rows)
            )
            assert found == 256 * shape.epochs, f"expected {256 * shape.epochs} rows, got {found}"

        first_s = seconds(columns)
        row(
            "256 samples' history, columns",
            f"{show_s(median_s(columns))}, first {show_s(first_s)}",
            f"Polars {show_s(floor_s)}",
        )
        row(
            "256 samples' history, frame with ids",
            show_s(median_s(lambda: wl.history(LOSS, sample_id=names))),
        )


def of_all(root: Path, shape: Shape) -> None:
    """The mean of every value."""
    peak = Peak()
    (view,) = Ledger(root, mode="r").views()

    def mean() -> float:
        total, count = 0.0, 0
        for _, chunk in view.store.history.scan("sample", signals=[LOSS], columns={"value"}):
            total += float(chunk.columns["value"].sum())
            count += len(chunk)
        assert count == shape.rows, f"expected {shape.rows} rows, got {count}"
        return total / count

    ours_s = median_s(mean, rounds=2)
    mib = peak.mib()
    lazy = pl.scan_parquet(_pattern(root), hive_partitioning=False).select(pl.col("value").mean())
    floor = lazy.collect().item()
    assert np.isclose(mean(), floor, rtol=1e-12), f"we say {mean()}, Polars {floor}"
    row(
        f"mean of {shape.rows:,} values",
        f"{show_s(ours_s)}, {mib:.0f} MiB",
        f"Polars {show_s(median_s(lazy.collect, rounds=2))}",
    )


def table(root: Path, shape: Shape) -> None:
    """The sample table: as a frame, then filtered, sorted and cut to a page."""
    with wl.Session(root, mode="r") as session:
        session.ledger.views()
        first_s = seconds(wl.samples)
        frame = wl.samples()
        assert len(frame) == shape.samples
        column = f"signals//{LOSS}"
        values = frame[column].to_numpy()

        def page() -> None:
            chosen = frame.filter(pl.col(column) > values.mean())
            chosen.sort(column, descending=True).slice(100, 50)

        def bare() -> None:
            held = np.flatnonzero(values > values.mean())
            held[np.argsort(values[held])[::-1][100:150]]

        row(
            f"table of {shape.samples:,} samples as a frame",
            f"{show_s(median_s(wl.samples))}, first {show_s(first_s)}",
        )
        row("filter, sort, page", show_s(median_s(page)), f"numpy {show_s(median_s(bare))}")


def export(root: Path, shape: Shape) -> None:
    """A signal's history as CSV."""
    target = root.parent / "score.csv"
    with wl.Session(root, mode="r"):
        rows, floor_s = _write_plainly(root.parent / "floor.csv")
        taken_s = seconds(
            lambda: wl.write_history(
                target,
                format="csv",
                type_of_history="sample",
                graph_name=SCORE,
                experiment_hash="all",
            )
        )
    with target.open("rb") as file:
        lines = sum(1 for _ in file) - 1
    assert lines == rows, f"expected {rows} lines, got {lines}"
    row(
        f"CSV of {rows:,} rows",
        f"{rows / taken_s / 1e6:.2f}M rows/s, {show_s(taken_s)}",
        f"Polars writes the frame {rows / floor_s / 1e6:.2f}M rows/s",
    )
    target.unlink()
    (root.parent / "floor.csv").unlink()


def _write_plainly(path: Path) -> tuple[int, float]:
    """Rows of the signal, and how long Polars writes the ready frame."""
    frame = wl.history(SCORE)
    return len(frame), seconds(lambda: frame.write_csv(path))


def check_folder(root: Path) -> None:
    """`weightslab fsck` of everything."""
    from tests.crash.roles import has_command, run_command

    if not has_command("fsck"):
        row("fsck", "not in this version")
        return
    code = -1

    def check() -> None:
        nonlocal code
        code = run_command("fsck", str(root))

    taken_s = seconds(check)
    assert code == 0, f"weightslab fsck ended with {code}"
    row("fsck", show_s(taken_s))
