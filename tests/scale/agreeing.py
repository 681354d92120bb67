"""Other tools answer questions on the folder, as they would on any hive Parquet, and agree.

The questions: how many losses there are; their mean in every epoch; the ten samples with the
largest mean loss, by id; the mean loss of the samples that carry a tag.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.scale.data import Shape
from tests.scale.measuring import row, seconds, show_s
from tests.scale.writing import LOSS, TAG

__all__ = ["Answers", "check_duckdb", "check_ours", "check_spark"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a tool answers."""

    count: int
    means: list[float]
    worst: list[str]
    tagged: float

    def check(self, who: str, root: Path) -> None:
        """Compare with what was saved. Raises AssertionError where they differ."""
        truth = Answers(**json.loads((root.parent / "truth.json").read_text()))
        assert self.count == truth.count, f"{who}: {self.count} rows, saved were {truth.count}"
        assert np.allclose(self.means, truth.means, rtol=1e-6), f"{who}: means per epoch differ"
        assert self.worst == truth.worst, f"{who}: worst {self.worst}, saved {truth.worst}"
        assert math.isclose(self.tagged, truth.tagged, rel_tol=1e-6), (
            f"{who}: mean of the tagged {self.tagged}, saved {truth.tagged}"
        )


def check_ours(root: Path, shape: Shape) -> None:
    """Our own reader, a piece at a time."""
    found: list[Answers] = []
    taken_s = seconds(lambda: found.append(_ours(root, shape)))
    found[0].check("ours", root)
    row("four questions about everything: ours", show_s(taken_s))


def _ours(root: Path, shape: Shape) -> Answers:
    from weightslab.ledger import Ledger

    (view,) = Ledger(root, mode="r").views()
    sums, by_epoch = np.zeros(shape.samples), np.zeros(shape.epochs)
    count = 0
    for _, chunk in view.store.history.scan("sample", signals=[LOSS]):
        sample, step, value = (chunk.columns[n] for n in ("sample", "step", "value"))
        by_epoch += np.bincount(step // shape.steps, value, shape.epochs)
        sums += np.bincount(sample, value, shape.samples)
        count += len(chunk)
    tagged = view.store.samples.bools(view.store.samples.tags[TAG], shape.samples)
    return Answers(
        count,
        (by_epoch / shape.samples).tolist(),
        view.store.ids.names(np.argsort(-sums)[:10].astype(np.int32)),
        float(sums[tagged].sum() / (tagged.sum() * shape.epochs)),
    )


def check_duckdb(root: Path, shape: Shape) -> None:
    """DuckDB, with the reading options that a hash of digits needs."""
    import duckdb

    options = "hive_partitioning=true, hive_types={'experiment_hash': varchar, 'writer': varchar}"
    losses = f"read_parquet('{root}/history/kind=sample/*/signal={LOSS}/**/*.parquet', {options})"
    joined = f"""
        {losses} h join read_parquet('{root}/ids/**/*.parquet', hive_partitioning=true) i
        on i.row = h.sample and i.writer = h.writer
    """

    def one(question: str) -> list[tuple[Any, ...]]:
        return duckdb.sql(question).fetchall()

    def answer() -> Answers:
        steps = shape.steps
        return Answers(
            one(f"select count(*) from {losses}")[0][0],
            [
                m
                for _, m in one(
                    f"select step // {steps} e, avg(value) from {losses} group by e order by e"
                )
            ],
            [
                name
                for name, _ in one(
                    f"select sample_id, avg(value) m from {joined} "
                    "group by sample_id order by m desc limit 10"
                )
            ],
            one(
                f"select avg(h.value) from {losses} h "
                f"join read_parquet('{root}/samples/family=tags/**/*.parquet', "
                "hive_partitioning=true) t on t.row = h.sample and t.writer = h.writer "
                f'where t."tag:{TAG}"'
            )[0][0],
        )

    found: list[Answers] = []
    taken_s = seconds(lambda: found.append(answer()))
    found[0].check("DuckDB", root)
    row("four questions about everything: DuckDB", show_s(taken_s))


def check_spark(root: Path, shape: Shape) -> None:
    """PySpark; said and left out where it or its Java is missing."""
    if shutil.which("java") is None:
        row("four questions about everything: PySpark", "left out: there is no Java on the path")
        return
    try:
        from pyspark.sql import SparkSession, functions
    except ImportError:
        row("four questions about everything: PySpark", "left out: pyspark is not installed")
        return
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "2g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        # Without this a hash of digits, as "1234e5", becomes a number.
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    f = functions

    def answer() -> Answers:
        history = spark.read.option("basePath", f"{root}/history")
        losses = history.parquet(f"{root}/history/kind=sample").where(f.col("signal") == LOSS)
        ids = spark.read.parquet(f"{root}/ids").withColumnRenamed("row", "sample")
        tags = spark.read.parquet(f"{root}/samples/family=tags").withColumnRenamed("row", "sample")
        epoch = f.floor(f.col("step") / shape.steps).alias("epoch")
        means = losses.groupBy(epoch).agg(f.avg("value").alias("mean")).orderBy("epoch")
        totals = losses.groupBy("writer", "sample").agg(f.avg("value").alias("mean"))
        worst = totals.join(ids, ["writer", "sample"]).orderBy(f.desc("mean")).limit(10)
        tagged = losses.join(tags.where(f.col(f"`tag:{TAG}`")), ["writer", "sample"])
        return Answers(
            losses.count(),
            [r["mean"] for r in means.collect()],
            [r["sample_id"] for r in worst.collect()],
            tagged.agg(f.avg("value")).collect()[0][0],
        )

    found: list[Answers] = []
    taken_s = seconds(lambda: found.append(answer()))
    spark.stop()
    found[0].check("PySpark", root)
    row("four questions about everything: PySpark", show_s(taken_s))
