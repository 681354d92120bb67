"""A repair mends what can be mended, deletes nothing that held values, and may be killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import weightslab as wl
from tests.maintenance.support import (
    SAMPLES,
    LivingWriter,
    flip,
    found,
    history,
    killed_writer,
    merge,
    parquet,
    report,
    run_script,
    segment,
    table,
)
from weightslab.ledger.log.frames import HEADER_BYTES
from weightslab.maintenance.repair import repair

FLIPPED: dict[str, Callable[[Path], Path]] = {
    "segment": segment,
    "instances": lambda run: parquet(run, "history", "kind=instance"),
    "curve": lambda run: parquet(run, "history", "kind=global"),
    "ids": lambda run: parquet(run, "ids", at=1),
    "journal": lambda run: parquet(run, "journal"),
    "tags": lambda run: parquet(run, "samples", "family=tags"),
    "latest values": lambda run: parquet(run, "samples", "family=signals"),
    "arrays": lambda run: parquet(run, "samples", "family=arrays"),
}


def mended(root: Path) -> list[str]:
    """Repair a folder; gives the verbs of what was done."""
    done = repair(root)
    assert done.failed == []
    return [action.verb for action in done.actions]


def test_a_clean_folder_is_left_as_it_is(run: Path) -> None:
    """There is nothing to do in a whole folder, and nothing is done."""
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert mended(run) == []
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("choose", FLIPPED.values(), ids=FLIPPED.keys())
def test_a_damaged_file_is_set_aside(run: Path, choose: Callable[[Path], Path]) -> None:
    """The damaged file lies under _damaged as it was; the folder is clean afterwards."""
    path = choose(run)
    flip(path)
    damaged = path.read_bytes()
    mended(run)
    assert (run / "_damaged" / path.relative_to(run)).read_bytes() == damaged
    assert not report(run).problems


def test_all_other_values_are_as_they_were(run: Path) -> None:
    """One damaged segment costs its own rows and no other."""
    whole = history(run)
    flip(segment(run, at=2))
    mended(run)
    assert history(run) == [row for row in whole if row[1] != 2]
    assert len(history(run, "box", "instance")) == 24


def test_tags_come_back_from_the_journal(run: Path) -> None:
    """A damaged snapshot of the sample table is made anew from journal and history."""
    whole = table(run)
    for family in ("tags", "signals"):
        flip(parquet(run, "samples", f"family={family}"))
    mended(run)
    assert table(run) == whole
    assert parquet(run, "samples", "family=tags").exists()


def test_lost_ids_get_names_of_their_own(run: Path) -> None:
    """Rows whose ids are gone are called lost/<row>, in the files too; none gets another's name."""
    flip(parquet(run, "ids", at=1))
    mended(run)
    names = {row["sample_id"] for row in table(run)}
    assert {"train/0", "own00", "own02"} <= names
    assert "own01" not in names
    assert found(run) == [("aside", parquet(run, "_damaged").relative_to(run).as_posix())]


def test_all_ids_gone(run: Path) -> None:
    """Without any ids every value is still there, and every sample that has one in the table."""
    whole = history(run)
    shutil.rmtree(run / "ids")
    mended(run)
    assert not report(run).problems
    with wl.Session(run, mode="r"):
        table = wl.samples().filter(annotation_id=0)
    assert {row[0] for row in history(run)} <= set(table["sample_id"])
    assert set(table["origin"]) == {"lost"}
    assert sorted(row[1:] for row in history(run)) == sorted(row[1:] for row in whole)


def test_inputs_of_a_merge_are_removed(run: Path) -> None:
    """Files that a larger one replaced go, and every value is there once."""
    whole = history(run)
    inputs = [segment(run, at=at) for at in range(3)]
    merged = merge(inputs)
    assert mended(run) == ["removed"] * 3
    assert merged.exists()
    assert found(run) == []
    assert history(run) == whole


def test_inputs_of_a_damaged_merge_are_the_data_again(run: Path) -> None:
    """Where the merged file is damaged its inputs stay, and nothing is lost."""
    whole = history(run)
    flip(merge([segment(run, at=at) for at in range(3)]))
    mended(run)
    assert history(run) == whole
    assert not report(run).problems


def test_logs_of_dead_writers_become_files(run: Path) -> None:
    """What killed processes logged, whatever their rank, is in files and in no log."""
    for rank in range(3):
        killed_writer(run, rank=rank)
    mended(run)
    assert not list(run.rglob("*.wal"))
    assert found(run) == []
    assert len(history(run, "late")) == 3 * 5 * 40
    assert [w.samples for w in report(run).writers] == [SAMPLES + 6 + 5, 5, 5]


def test_a_log_broken_in_its_middle(run: Path) -> None:
    """Its whole records become files, and the rest is kept beside."""
    killed_writer(run)
    log = max((run / "_wal/0-0").glob("*.wal"))
    data = log.read_bytes()
    last = data.rstrip(b"\0")
    assert len(last) > HEADER_BYTES + 400
    broken = bytearray(data)
    broken[HEADER_BYTES + 390] ^= 1
    log.write_bytes(bytes(broken))
    assert any(kind == "log" for kind, _ in found(run))
    mended(run)
    assert (run / "_damaged/_wal/0-0" / log.name).read_bytes() == bytes(broken)
    assert not report(run).problems
    assert len(history(run)) == 6 * SAMPLES


def test_a_log_without_a_header(run: Path) -> None:
    """A log that cannot be read is set aside, and the folder opens."""
    killed_writer(run)
    for log in (run / "_wal/0-0").glob("*.wal"):
        log.write_bytes(b"\xff" * 64 + log.read_bytes()[64:])
    mended(run)
    assert not report(run).problems
    assert len(history(run)) == 6 * SAMPLES


@pytest.mark.parametrize("name", ["tags.json", "signals.json"])
def test_registries_are_made_anew(run: Path, name: str) -> None:
    """A damaged registry is kept aside, and what it held comes from the files."""
    whole = (run / name).read_bytes()
    (run / name).write_bytes(b"{ damaged")
    mended(run)
    assert (run / name).read_bytes() == whole
    assert (run / "_damaged" / name).read_bytes() == b"{ damaged"


def test_the_ledgers_own_file_is_made_anew(run: Path) -> None:
    """A damaged ledger.json is replaced where whole files of ours lie around it."""
    whole = history(run)
    (run / "ledger.json").write_bytes(b"\0" * 30)
    mended(run)
    assert not report(run).problems
    assert history(run) == whole


def test_an_unfinished_copy_does_not_become_a_run(run: Path) -> None:
    """A missing ledger.json stays missing: it is written last, so what it lacks is unknown."""
    (run / "ledger.json").unlink()
    assert mended(run) == []
    assert [f.kind for f in report(run).problems] == ["format"]


def test_a_writer_without_its_folder_is_found_again(run: Path) -> None:
    """A writer whose log folder is gone gets one, and readers see its values."""
    whole = history(run)
    shutil.rmtree(run / "_wal")
    assert "claimed" in mended(run)
    assert history(run) == whole


def test_a_second_damaged_file_of_one_name_is_kept_too(run: Path) -> None:
    """What was set aside earlier is never overwritten."""
    path = run / "launches/000001.json"
    for content in ("{ one", "{ two"):
        path.write_text(content)
        mended(run)
    kept = sorted((run / "_damaged/launches").iterdir())
    assert [p.read_text() for p in kept] == ["{ one", "{ two"]


def test_a_living_writer_is_left_alone(run: Path) -> None:
    """Parts of a living writer are not touched, those of a dead one beside it are mended."""
    killed_writer(run, rank=1)
    flip(segment(run))
    damaged = segment(run).read_bytes()
    with LivingWriter(run):
        done = repair(run)
        assert ("left", "_wal/0-0") in [(a.verb, a.path) for a in done.actions]
        assert segment(run).read_bytes() == damaged
        assert list((run / "_wal/0-0").glob("*.wal"))
        assert not list((run / "_wal/1-0").glob("*.wal"))
        assert [f.kind for f in report(run).problems] == ["parquet"]
    assert len(history(run, "late")) == 2 * 5 * 40


DYING = """
import sys
from pathlib import Path
from tests.maintenance.dying import DyingFiles
from weightslab.maintenance.repair import repair
repair(Path(sys.argv[1]), files=DyingFiles(int(sys.argv[2])))
print("finished")
"""


def test_a_repair_that_is_killed_leaves_nothing_worse(run: Path, tmp_path: Path) -> None:
    """Killed before every single change, a repair loses nothing, and the next one ends it."""
    merge([segment(run, at=at) for at in range(3)])
    killed_writer(run)
    log = min((run / "_wal/0-0").glob("*.wal"))
    damaged = {
        "segment": segment(run, signal_name="a%2Fb", at=1),
        "tags": parquet(run, "samples", "family=tags"),
        "registry": run / "signals.json",
        "launch": run / "launches/000001.json",
    }
    flip(damaged["segment"])
    flip(damaged["tags"])
    damaged["registry"].write_text("{")
    damaged["launch"].write_text("{ launch")
    broken = bytearray(log.read_bytes())
    broken[HEADER_BYTES + 300] ^= 1
    log.write_bytes(bytes(broken))
    contents = {path.read_bytes() for path in [*damaged.values(), log]}
    before = {(f.kind, f.path) for f in report(run).problems}
    whole = history(run)
    deaths = 0
    for at in range(400):
        root = shutil.copytree(run, tmp_path / f"killed{at}")
        ended = run_script(DYING, root, at)
        if "finished" in ended.stdout:
            break
        assert ended.returncode == -9, ended.stderr
        deaths += 1
        assert {(f.kind, f.path) for f in report(root).problems} <= before
        assert contents <= {p.read_bytes() for p in root.rglob("*") if p.is_file()}
        mended(root)
        assert not report(root).problems
        assert history(root) == whole
        assert contents <= {p.read_bytes() for p in root.rglob("*") if p.is_file()}
        shutil.rmtree(root)
    assert deaths > 15


def test_a_folder_that_cannot_be_written(run: Path) -> None:
    """A disk that refuses ends the repair with its error; nothing was changed."""
    if os.geteuid() == 0:
        (run / "_damaged").write_text("a file stands in the way")
    else:
        run.chmod(0o500)
    flip(segment(run))
    damaged = segment(run).read_bytes()
    try:
        with pytest.raises(OSError, match="_damaged"):
            repair(run)
    finally:
        run.chmod(0o700)
    assert segment(run).read_bytes() == damaged
