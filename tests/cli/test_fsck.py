"""`weightslab fsck` as it is typed: what it prints, and how it exits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.maintenance.support import (
    LivingWriter,
    build,
    flip,
    killed_writer,
    run_script,
    segment,
)
from weightslab.cli.app import main


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built") / "run"
    build(root)
    return root


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "run")


def typed(*words: object) -> int:
    """Run the command line in this process; gives its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_clean_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole folder is called clean, with its size and writers, and exits with 0."""
    assert typed("fsck", run) == 0
    first, writer, empty, verdict = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{run}: ")
    assert first.endswith("kB")
    assert (writer, empty) == ("writer 0-0: closed, 66 samples", "")
    assert verdict == "clean: every file is whole"


def test_damage_is_told_and_then_mended(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage exits with 1 and names the file; --repair mends it and exits with 0."""
    path = segment(run)
    flip(path)
    assert typed("fsck", run) == 1
    told = capsys.readouterr().out
    assert path.relative_to(run).as_posix() in told
    assert told.splitlines()[-1].startswith("1 problem: --repair mends")
    assert typed("fsck", run, "--repair") == 0
    told = capsys.readouterr().out
    assert "set aside: history/" in told
    assert told.splitlines()[-1] == "clean: every file is whole"


def test_records_that_wait_are_no_problem(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a kill the folder is clean, the waiting records are counted, a repair is offered."""
    killed_writer(run)
    assert typed("fsck", run) == 0
    told = capsys.readouterr().out
    assert "records wait in the log" in told
    assert told.splitlines()[-1].endswith("--repair tidies up what a killed process left")


def test_what_a_repair_cannot_mend_exits_with_1(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Problems that are left are told, and the command fails."""
    (run / "ledger.json").write_text('{"format_version": 999}')
    assert typed("fsck", run, "--repair") == 1
    assert "1 problem left" in capsys.readouterr().out


def test_a_living_run_is_called_living(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repair beside a living run says that it left it alone."""
    with LivingWriter(run):
        assert typed("fsck", run, "--repair") == 0
    told = capsys.readouterr().out
    assert "left: _wal/0-0 (a living process writes: end it first)" in told
    assert "writer 0-0: living, checked while it writes" in told


def test_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one object whose names are those of the documentation."""
    flip(segment(run))
    assert typed("fsck", run, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert sorted(told) == [
        "clean",
        "files",
        "findings",
        "repair",
        "root",
        "size_bytes",
        "version",
        "writers",
    ]
    (finding,) = told["findings"]
    assert (finding["kind"], finding["is_problem"], finding["mend"], finding["writer"]) == (
        "parquet",
        True,
        "set aside",
        "0-0",
    )
    assert told["writers"] == [{"name": "0-0", "is_living": False, "samples": 66, "waiting": 0}]
    assert (told["version"], told["clean"], told["repair"]) == (1, False, None)
    assert typed("fsck", run, "--json", "--repair") == 0
    told = json.loads(capsys.readouterr().out)
    assert [action["verb"] for action in told["repair"]["actions"]] == ["set aside", "published"]


@pytest.mark.parametrize("words", [(), ("nowhere",), (".",), ("a", "b")])
def test_wrong_usage(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is no run, or none, is wrong usage: 2, and one line that says why."""
    assert typed("fsck", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err


def test_a_name_cannot_steer_the_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of a file's name are printed as text, markup as it is."""
    (run / "\x1b[2J[red]\n").write_text("")
    assert typed("fsck", run) == 0
    assert "  \\x1b[2J[red]\\n: left alone" in capsys.readouterr().out


def test_many_findings_of_one_kind_are_cut(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one kind twenty lines are printed, with the number of the rest; JSON has them all."""
    for number in range(30):
        (run / f"note{number}").write_text("12345")
    assert typed("fsck", run) == 0
    told = capsys.readouterr().out
    assert "not the ledger's own (30, 150 bytes):" in told
    assert "... and 10 more: --json lists them all" in told
    assert typed("fsck", run, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["findings"]) == 30


def test_progress_of_a_large_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A check of many files says how far it is, ten times outside a terminal."""
    for number in range(300):
        (run / f"note{number}").write_text("")
    assert typed("fsck", run) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("file ")]
    assert len(lines) == 10


def test_a_check_loads_neither_torch_nor_polars(run: Path) -> None:
    """A check starts quickly: pyarrow and numpy are all that it needs."""
    script = """
    import sys
    from weightslab.cli.app import main
    try:
        main(["fsck", sys.argv[1]])
    finally:
        print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
    """
    done = run_script(script, run)
    assert done.returncode == 0
    assert not {"torch", "polars", "pandas"} & set(done.stderr.split())


@pytest.mark.parametrize("inside", ["", "run/history/kind=sample"])
def test_a_folder_around_or_inside_a_run_is_wrong_usage(
    run: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What holds runs, or is a part of one, is not walked: the runs are named."""
    assert typed("fsck", run.parent / inside) == 2
    said = capsys.readouterr().err
    assert "holds no run itself" in said
    assert ("run: name one" in said) == (inside == "")


def test_a_run_without_its_format_file_is_checked_all_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged run is known by its other folders."""
    (run / "ledger.json").unlink()
    assert typed("fsck", run) == 1
    assert "ledger.json" in capsys.readouterr().out
