"""Each kind of damage, planted in a real folder, is found and named; nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.maintenance.support import (
    SAMPLES,
    LivingWriter,
    flip,
    found,
    merge,
    only,
    parquet,
    report,
    rewrite,
    segment,
)
from weightslab.errors import FolderError
from weightslab.ledger.unfinished import unfinished_name
from weightslab.maintenance.check import open_tree

TREES = {
    "history of samples": ("history", "kind=sample"),
    "history of instances": ("history", "kind=instance"),
    "curve": ("history", "kind=global"),
    "ids": ("ids",),
    "journal": ("journal",),
    "tags": ("samples", "family=tags"),
    "latest values": ("samples", "family=signals"),
    "small arrays": ("samples", "family=arrays"),
    "large arrays": ("arrays",),
}


def relative(run: Path, path: Path) -> str:
    return path.relative_to(run).as_posix()


def test_a_whole_folder_is_clean(run: Path) -> None:
    """A closed folder with every kind of file has no problem, and nothing else to say."""
    checked = report(run)
    assert checked.findings == []
    assert checked.files == sum(path.is_file() for path in run.rglob("*"))
    (writer,) = checked.writers
    assert (writer.name, writer.is_living, writer.samples) == ("0-0", False, SAMPLES + 6)


def test_a_check_changes_nothing(run: Path) -> None:
    """Names, bytes and times of all files are the same after a check."""

    def state() -> list[object]:
        paths = sorted(run.rglob("*"))
        return [(p, p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths]

    before = state()
    report(run)
    assert state() == before


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_a_flipped_bit_in_a_page(run: Path, tree: tuple[str, ...]) -> None:
    """One bit of one page is enough, in every tree."""
    path = parquet(run, *tree)
    flip(path)
    assert ("parquet", relative(run, path)) in found(run)


@pytest.mark.parametrize("content", [b"", b"PAR1", bytes(200), b"PAR1" + bytes(64) + b"PAR1"])
def test_other_bytes_than_parquet(run: Path, content: bytes) -> None:
    """An empty or foreign file under a segment's name is damaged."""
    segment(run).write_bytes(content)
    assert only(run).kind == "parquet"


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_file(run: Path, keep: float) -> None:
    """A file that lost its end is damaged."""
    path = segment(run)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert (only(run).kind, only(run).path) == ("parquet", relative(run, path))


def test_metadata_that_is_not_ours(run: Path) -> None:
    """A segment without the ledger's metadata is named; any tool may write such a file."""
    rewrite(segment(run), lambda table: table, footer={})
    assert (only(run).kind, "'lsn'" in only(run).text) == ("footer", True)


def test_a_column_of_another_type(run: Path) -> None:
    """One type per column in the whole tree: 32-bit values would be read wrong elsewhere."""

    def narrow(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("value")
        field = pa.field("value", pa.float32(), nullable=False)
        return table.set_column(at, field, table["value"].cast(pa.float32()))

    rewrite(segment(run), narrow)
    assert (only(run).kind, "float" in only(run).text) == ("schema", True)


@pytest.mark.parametrize(
    "change", [lambda t: t.drop_columns(["step"]), lambda t: t.append_column("x", t["step"])]
)
def test_a_column_too_few_or_too_many(run: Path, change: object) -> None:
    """Columns are exactly those of the ledger."""
    rewrite(segment(run), change)  # type: ignore[arg-type]
    assert only(run).kind == "schema"


def test_rows_out_of_order(run: Path) -> None:
    """A segment is sorted by sample: our reader searches it."""
    rewrite(segment(run), lambda table: table.take(pa.array([1, 0, *range(2, SAMPLES)])))
    assert only(run).kind == "order"


def test_order_is_checked_across_row_groups(run: Path) -> None:
    """The first row of a row group comes after the last of the one before."""
    import pyarrow.parquet as pq

    path = segment(run)
    table = pq.read_table(path)
    swapped = pa.concat_tables([table.slice(30), table.slice(0, 30)])
    pq.write_table(swapped, path, row_group_size=30)
    assert only(run).kind == "order"


def test_inputs_of_a_merge_that_were_not_removed(run: Path) -> None:
    """Files that a larger one replaced are left over by a kill: said, and no problem."""
    inputs = [segment(run, at=at) for at in range(3)]
    merge(inputs)
    checked = report(run)
    assert not checked.problems
    assert [f.path for f in checked.of("superseded")] == [relative(run, path) for path in inputs]


def test_a_damaged_merge_replaces_nothing(run: Path) -> None:
    """While the merged file cannot be read, its inputs are the data, not left-overs."""
    merged = merge([segment(run, at=at) for at in range(3)])
    flip(merged)
    assert found(run) == [("parquet", relative(run, merged))]


def test_ranges_that_overlap(run: Path) -> None:
    """Two files that share some records, and neither holds the other, double values."""
    inputs = [segment(run, at=at) for at in range(3)]
    merge(inputs[:2])
    merge(inputs[1:])
    assert [f.kind for f in report(run).problems] == ["overlap"]


def test_numbers_that_run_backwards(run: Path) -> None:
    """A file's numbers are its first and its last."""
    path = segment(run)
    path.rename(path.with_name("seg-000000009-000000002.parquet"))
    assert only(run).kind == "order"


def test_a_signal_in_the_folder_of_another(run: Path) -> None:
    """Other tools take a signal's name from its folder."""
    path = segment(run)
    path.parent.parent.rename(path.parent.parent.with_name("signal=other"))
    assert {kind for kind, _ in found(run)} >= {"place"}


def test_ids_that_are_gone(run: Path) -> None:
    """Rows that no ids file names are found in whatever speaks of them."""
    shutil.rmtree(run / "ids")
    checked = report(run)
    assert {f.kind for f in checked.problems} == {"rows"}
    trees = {f.path.split("/")[0] for f in checked.problems}
    assert trees == {"arrays", "history", "journal", "samples"}


def test_a_gap_between_ids(run: Path) -> None:
    """An ids file that is missing in the middle leaves rows without a name."""
    parquet(run, "ids", at=1).unlink()
    finding = only(run)
    assert (finding.kind, finding.path) == ("ids", "ids/writer=0-0")
    assert f"{SAMPLES + 1} to {SAMPLES + 1}" in finding.text


@pytest.mark.parametrize("name", ["tags.json", "signals.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b"{}"])
def test_registries(run: Path, name: str, content: bytes) -> None:
    """A registry that is no JSON, or lacks what files name, is a problem."""
    (run / name).write_bytes(content)
    assert (only(run).kind, only(run).path) == ("registry", name)


def test_a_registry_that_is_gone(run: Path) -> None:
    """A missing registry is one that lacks everything."""
    (run / "signals.json").unlink()
    assert "'loss'" in only(run).text


def test_temporary_files(run: Path) -> None:
    """What a dead process left in _tmp is left over; what a living one writes is not."""
    (run / "_tmp").mkdir(exist_ok=True)
    living = unfinished_name("seg")
    gone = living.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")
    for name in (living, gone):
        (run / "_tmp" / name).write_bytes(b"1234")
    finding = only(run)
    assert (finding.kind, finding.is_problem, finding.size_bytes) == ("temporary", False, 4)


def test_marks_of_processes_are_known(run: Path) -> None:
    """Empty files by which processes know each other belong to the ledger."""
    (run / "launches/000001.rank-3").touch()
    (run / "_wal/0-0/edits").write_bytes(bytes(8))
    assert found(run) == []


def test_unknown_files(run: Path) -> None:
    """What is not the ledger's is said, and neither followed nor waited for."""
    (run / "notes.txt").write_text("mine")
    (run / "loop").symlink_to(run)
    os.mkfifo(run / "history" / "pipe")
    (run / "history" / "x.parquet").write_bytes(b"no")
    names = ["history/pipe", "history/x.parquet", "loop", "notes.txt"]
    assert found(run) == [("unknown", name) for name in names]


@pytest.mark.parametrize("tree", ["curves/kind=sample", "history/kind=new/a=b/c=d", "samples/x=y"])
def test_parquet_of_a_tree_that_this_version_does_not_know(run: Path, tree: str) -> None:
    """Files of a later version's tree are read to the last page as well."""
    path = run / tree / "writer=0-0" / "pyramid-000000001-000000002.parquet"
    path.parent.mkdir(parents=True)
    shutil.copy(segment(run), path)
    assert found(run) == []
    flip(path)
    assert found(run) == [("parquet", relative(run, path))]


def test_a_launch_file(run: Path) -> None:
    """A launch file that is no JSON is named."""
    (run / "launches/000001.json").write_text("{")
    assert found(run) == [("json", "launches/000001.json")]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "ledger"),
        (b"\0" * 40, "ledger"),
        (b"{}", "ledger"),
        (b"[1]", "ledger"),
        (b"[" * 100_000, "ledger"),
        (b'{"format_version": 999}', "format"),
        (None, "format"),
    ],
)
def test_the_ledgers_own_file(run: Path, content: bytes | None, kind: str) -> None:
    """ledger.json may be damaged, of another format, or missing."""
    if content is None:
        (run / "ledger.json").unlink()
    else:
        (run / "ledger.json").write_bytes(content)
    assert (only(run).kind, only(run).path) == (kind, "ledger.json")


def test_a_writer_without_its_folder(run: Path) -> None:
    """Readers find writers by their log folders: without one its files are invisible."""
    shutil.rmtree(run / "_wal")
    assert found(run) == [("writer", "_wal/0-0")]


def test_a_living_writer(run: Path) -> None:
    """A run that another process writes is checked, and called living."""
    with LivingWriter(run):
        checked = report(run)
    assert checked.findings == []
    (writer,) = checked.writers
    assert (writer.is_living, writer.waiting > 40) == (True, True)


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_a_folder_that_is_no_run(tmp_path: Path, name: str) -> None:
    """What is no run folder is refused."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match=r"no folder|no run"):
        open_tree(tmp_path / name)
