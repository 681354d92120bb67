"""`weightslab demo`, run as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

Whole = tuple[Path, subprocess.CompletedProcess[str]]
DEMO = (sys.executable, "-m", "weightslab", "demo")


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
    return subprocess.run(
        [*DEMO, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The demo as it comes, without a terminal, and where it wrote."""
    folder = tmp_path_factory.mktemp("demo") / "a run"
    return folder, run("--out", str(folder), "--no-browser")


def test_it_ends_well_and_silent_on_stderr(whole: Whole) -> None:
    """It needs no terminal and warns of nothing."""
    _, done = whole
    assert (done.returncode, done.stderr) == (0, "")


def test_it_finds_most_of_what_was_planted(whole: Whole) -> None:
    """Of 90 planted errors, more than four in five are among the first 90."""
    found = re.search(r"(\d+) of the (\d+) planted errors", whole[1].stdout)
    assert found, whole[1].stdout
    assert int(found[2]) == 90
    assert int(found[1]) > 72


def test_it_draws_the_suspects(whole: Whole) -> None:
    """The table holds pictures made of block characters."""
    assert "learned" in whole[1].stdout
    assert "█" in whole[1].stdout


def test_progress_without_a_terminal_is_a_line_per_epoch(whole: Whole) -> None:
    """Every epoch is one plain line."""
    assert len(re.findall(r"^epoch \d+/15  mean loss \d", whole[1].stdout, re.MULTILINE)) == 15


def test_every_sample_of_every_epoch_is_on_record(whole: Whole) -> None:
    """The history that plain Polars reads holds 15 losses of each of the 1,797 digits."""
    losses = pl.read_parquet(
        whole[0] / "history/kind=sample/**/*.parquet", hive_partitioning=True
    ).filter(pl.col("signal").str.contains("loss"))
    assert len(losses) == 15 * 1797


def paste(output: str) -> None:
    """Run in a shell what the demo says to type next."""
    command = output[output.index("python -c") :].replace("python", sys.executable, 1)
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("sample_id") == 2
    assert "prediction" in done.stdout


def test_what_it_says_to_type_next_works(whole: Whole) -> None:
    """What it prints can be pasted into a shell, and shows samples and history."""
    paste(whole[1].stdout)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_it_says_to_type_next_works_for_odd_folders(tmp_path: Path, encoding: str) -> None:
    """Umlauts, emoji, quotes, backslashes, tabs and markup in a folder's name are no obstacle."""
    done = run(
        "--epochs",
        "1",
        "--out",
        "r\u00fcn \U0001f600 'a' \"b\" \\n\t:smile: [red]$HOME",
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
    )
    assert (done.returncode, done.stderr) == (0, "")
    paste(done.stdout)


@pytest.mark.parametrize("out", ["", "run-\udcff"])
def test_an_out_that_names_no_folder_is_refused(tmp_path: Path, out: str) -> None:
    """An empty --out, or one that UTF-8 cannot hold, is wrong usage, and nothing is written."""
    done = run("--out", out)
    assert done.returncode == 2
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_run_is_not_written_to(whole: Whole) -> None:
    """A second demo in the same folder is refused, and says what to do."""
    done = run("--out", str(whole[0]))
    assert done.returncode == 1
    assert "already holds a run: choose another folder" in done.stderr


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """--out is a folder."""
    (tmp_path / "taken").write_text("mine")
    done = run("--out", "taken")
    assert done.returncode == 1
    assert done.stderr == "error: taken is a file: --out takes a folder, new or empty\n"
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_out_below_a_file_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be made is said in one line."""
    (tmp_path / "taken").write_text("mine")
    done = run("--out", "taken/below")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot make the folder taken/below")


def test_without_out_it_takes_the_first_free_folder(tmp_path: Path) -> None:
    """Without --out nothing that exists is touched."""
    (tmp_path / "weightslab_runs" / "demo-1").mkdir(parents=True)
    done = run("--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "weightslab_runs" / "demo-2" / "ledger.json").exists()
    assert not list((tmp_path / "weightslab_runs" / "demo-1").iterdir())


def test_pictures_in_plain_ascii() -> None:
    """Where the output cannot hold block characters, plain ASCII draws."""
    done = run("--epochs", "1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "@" in done.stdout


def test_without_scikit_learn_it_names_the_package() -> None:
    """The missing package is named in one line, with code 1, and nothing is written."""
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from weightslab.cli.app import main; main(['demo'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "scikit-learn" in done.stderr
    assert not Path("weightslab_runs").exists()


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    """An interrupt ends with code 130, without a traceback, and says where the record is."""
    with subprocess.Popen(
        [*DEMO, "--epochs", "100000", "--out", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was recorded so far is in run" in out
    assert err.strip() == "stopped"
