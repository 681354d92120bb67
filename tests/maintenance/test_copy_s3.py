"""A run copied to S3 is read there as it lies, and comes back as the same run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import fs

from tests.maintenance.support import build, found, history, table
from tests.maintenance.test_copy import contents, copied
from weightslab.errors import FolderError
from weightslab.maintenance.copy import MARKER, carry_out, plan_copy
from weightslab.maintenance.repair import repair

KEYS = ("experiment_hash", "signal", "writer")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that speaks S3 on this machine alone; gives host:port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Query of every URI; the bucket `runs` is there and empty."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    query = f"scheme=http&endpoint_override={server}&region=us-east-1"
    files, _ = fs.FileSystem.from_uri(f"s3://runs?{query}&allow_bucket_creation=true")
    files.create_dir("runs")
    files.delete_dir_contents("runs", accept_root_dir=True)
    return query


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return sorted(
        zip(*(table[n].to_pylist() for n in (*KEYS[1:], "sample", "step", "value")), strict=True)
    )


def hive(place: str, filesystem: Any) -> pa.Table:
    keys = ds.partitioning(pa.schema([(key, pa.string()) for key in KEYS]), flavor="hive")
    return ds.dataset(place, filesystem=filesystem, format="parquet", partitioning=keys).to_table()


def test_pyarrow_reads_the_copy_in_the_bucket(run: Path, bucket: str) -> None:
    """The history in S3 is the same hive dataset as in the folder."""
    copied(run, f"s3://runs/a/b?{bucket}")
    files, path = fs.FileSystem.from_uri(f"s3://runs/a/b?{bucket}")
    there = hive(f"{path}/history/kind=sample", files)
    assert rows(there) == rows(hive(str(run / "history/kind=sample"), fs.LocalFileSystem()))
    assert there.num_rows == 2 * 6 * 60


def test_polars_reads_the_copy_in_the_bucket(run: Path, bucket: str, server: str) -> None:
    """Polars scans the history in S3 and finds what it finds in the folder."""
    copied(run, f"s3://runs/p?{bucket}")
    options = {
        "aws_endpoint_url": f"http://{server}",
        "aws_region": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
        "aws_allow_http": "true",
    }
    schema = dict.fromkeys(("kind", *KEYS), pl.String)

    def scanned(root: str, storage: dict[str, str] | None) -> list[tuple[Any, ...]]:
        frame = pl.scan_parquet(
            f"{root}/history/kind=sample/**/*.parquet",
            hive_partitioning=True,
            hive_schema=schema,
            storage_options=storage,
        ).collect()
        return sorted(frame.select(*KEYS[1:], "sample", "step", "value").rows())

    assert scanned("s3://runs/p", options) == scanned(str(run), None)


def test_a_run_comes_back_from_the_bucket(run: Path, bucket: str, tmp_path: Path) -> None:
    """Copied to S3 and back it is the same run: bytes, history, samples and tags."""
    repair(run)
    build(run, rank=1)
    copied(run, f"s3://runs/back?{bucket}")
    copied(f"s3://runs/back?{bucket}", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(run)
    assert found(tmp_path / "back") == []
    for name, kind in (("loss", "sample"), ("a/b", "sample"), ("box", "instance")):
        assert history(tmp_path / "back", name, kind) == history(run, name, kind)
    assert table(tmp_path / "back") == table(run)


def test_from_bucket_to_bucket(run: Path, bucket: str, tmp_path: Path) -> None:
    """Both places may be buckets."""
    copied(run, f"s3://runs/one?{bucket}")
    copied(f"s3://runs/one?{bucket}", f"s3://runs/two?{bucket}")
    copied(f"s3://runs/two?{bucket}", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(run)


def test_a_stopped_copy_goes_on_in_the_bucket(run: Path, bucket: str) -> None:
    """A part of a copy in S3 has no ledger.json; the same command copies the rest."""
    uri = f"s3://runs/stopped?{bucket}"
    seen: list[str] = []

    def on_file(name: str) -> None:
        seen.append(name)
        if len(seen) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(plan_copy(str(run), uri), on_file)
    files, path = fs.FileSystem.from_uri(uri)
    kinds = [files.get_file_info(f"{path}/{name}").type for name in (MARKER, "ledger.json")]
    assert kinds == [fs.FileType.File, fs.FileType.NotFound]
    with pytest.raises(FolderError, match="a copy that did not finish"):
        plan_copy(uri, "elsewhere")
    plan = plan_copy(str(run), uri)
    assert plan.is_resumed
    assert len(plan.missing) <= len(plan.files) - 10
    carry_out(plan)
    assert files.get_file_info(f"{path}/{MARKER}").type == fs.FileType.NotFound
    with pytest.raises(FolderError, match="already holds a run"):
        plan_copy(str(run), uri)


def test_secrets_of_a_uri_are_not_said(run: Path, bucket: str) -> None:
    """Messages and the marker name bucket and path, and never keys or the query."""
    uri = f"s3://me:s3cr3t@runs/quiet?{bucket}"
    plan = plan_copy(str(run), uri)
    assert plan.target.shown == "s3://runs/quiet"
    carry_out(plan)
    with pytest.raises(FolderError) as refused:
        plan_copy(str(run), uri)
    assert "s3cr3t" not in str(refused.value)


def test_a_bucket_that_does_not_exist(run: Path, bucket: str) -> None:
    """A missing bucket is the bucket's own error, which main prints in one line."""
    with pytest.raises(OSError, match="nowhere"):
        carry_out(plan_copy(str(run), f"s3://nowhere/run?{bucket}"))


def test_a_query_that_pyarrow_does_not_know(run: Path) -> None:
    """A mistyped option of the URI is refused before anything is done."""
    with pytest.raises(FolderError, match="cannot be opened"):
        plan_copy(str(run), "s3://runs/run?regoin=us-east-1")
