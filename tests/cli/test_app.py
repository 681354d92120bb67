"""The command line as a whole: help, versions, mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

import weightslab
from weightslab.cli.app import app, main
from weightslab.errors import WeightsLabError


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag: str) -> None:
    """Help lists the commands, each with a line."""
    result = call(flag)
    assert result.exit_code == 0
    assert "demo" in result.stdout
    assert "planted label errors" in result.stdout


def test_version() -> None:
    """The version that is printed is the package's."""
    assert weightslab.__version__ in call("--version").stdout


def test_help_is_light() -> None:
    """`weightslab --help` loads neither torch nor polars, numpy, pandas or rich."""
    script = (
        "import sys\n"
        "from weightslab.cli.app import main\n"
        "try:\n    main(['--help'])\nfinally:\n"
        "    print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert not {"torch", "polars", "numpy", "pandas", "rich"} & set(done.stderr.split())


def test_an_unknown_command_names_the_nearest() -> None:
    """A mistyped command is answered with the one that was probably meant."""
    result = call("dmeo")
    assert result.exit_code == 2
    assert "did you mean 'demo'?" in result.stderr


def test_an_unknown_command_far_from_all_lists_the_known() -> None:
    """A word near to nothing gets the list."""
    result = call("xyzzy")
    assert result.exit_code == 2
    assert "did you mean" not in result.stderr
    assert "known commands: compact, copy, demo, fsck" in result.stderr


@pytest.mark.parametrize(
    ("words", "near"), [(["--versio"], "--version"), (["demo", "--epoch", "3"], "--epochs")]
)
def test_an_unknown_option_names_the_nearest(words: list[str], near: str) -> None:
    """A mistyped option is answered with the one that was probably meant."""
    result = call(*words)
    assert result.exit_code == 2
    assert near in result.stderr


def test_our_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of ours ends the command with its message and code 1, without a traceback."""

    def fail(**_: object) -> None:
        raise WeightsLabError("the disk is made of cheese")

    from weightslab.cli.commands.demo import demo

    monkeypatch.setattr(demo, "callback", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["demo"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: the disk is made of cheese\n"


def test_what_the_disk_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, wherever a command meets it, is one line and code 1, without a traceback."""

    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device", "runs/a")

    from weightslab.cli.commands.demo import demo

    monkeypatch.setattr(demo, "callback", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["demo"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'runs/a'\n"


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["demo", "--epochs", "0"], 2)])
def test_main_exits_with_clicks_code(words: list[str], code: int) -> None:
    """Help exits with 0, wrong usage with 2."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == code


def test_the_package_runs_as_a_module() -> None:
    """`python -m weightslab` is the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "weightslab", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("weightslab")
