"""How far long work is: the numbers, and the bar on a real terminal."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from weightslab.progress import Progress


class Terminal:
    """A real terminal of 100 columns, and what was written on it."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")

    def text(self) -> str:
        """All that stands there; the terminal is closed for good."""
        self.stream.close()
        read = b""
        try:
            while more := os.read(self.master, 65536):
                read += more
        except OSError:  # Linux says so at the end of a terminal
            pass
        os.close(self.master)
        return read.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def test_numbers_count_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody watches nothing is written, and the numbers count."""
    with Progress("scoring", 10) as progress:
        progress.advance()
        progress.advance(4)
        assert (progress.done, progress.total) == (5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_label_and_numbers(terminal: Terminal) -> None:
    """The last picture holds what is done, however little time it took."""
    with Progress("scoring [train]", 10, to=terminal.stream) as progress:
        for _ in range(10):
            progress.advance()
    text = terminal.text()
    assert "scoring [train]" in text
    assert "10/10" in text


def test_work_of_unknown_length_shows_what_is_done(terminal: Terminal) -> None:
    """A stream has no total; the count goes on without one."""
    with Progress("scoring", None, to=terminal.stream) as progress:
        progress.advance(7)
    assert "7/?" in terminal.text()


def test_work_that_fails_leaves_the_terminal_usable(terminal: Terminal) -> None:
    """An error comes out, after the picture of how far it came, with the cursor shown again."""
    progress = Progress("scoring", 10, to=terminal.stream)

    def work() -> None:
        progress.advance(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress:
        work()
    text = terminal.text()
    assert "3/10" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_terminal_that_goes_away_ends_only_the_bar(terminal: Terminal) -> None:
    """Work goes on and is counted when nothing can be drawn any more."""
    with Progress("scoring", 10, to=terminal.stream) as progress:
        os.close(terminal.master)
        for _ in range(10):
            progress.advance()
    assert progress.done == 10
    with pytest.raises(OSError):  # noqa: PT011  # any: it shows that the terminal was really gone
        terminal.stream.close()


@pytest.mark.parametrize("stream", ["closed", "none"])
def test_a_process_without_standard_error_is_no_problem(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed standard error, and none at all, are nobody who watches."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if stream == "closed" else None)
    with Progress("scoring", 2) as progress:
        progress.advance(2)
    assert progress.done == 2


def test_a_bar_starts_no_thread_and_replaces_no_stream(terminal: Terminal) -> None:
    """Forked workers copy nothing of it, and the user's prints go where they went."""
    threads, out, err = threading.active_count(), sys.stdout, sys.stderr
    with Progress("scoring", 2, to=terminal.stream) as progress:
        progress.advance()
        assert threading.active_count() == threads
        assert (sys.stdout, sys.stderr) == (out, err)
    terminal.text()
