from __future__ import annotations

import io
import math
import sys
from typing import Any

import pytest

from weightslab.evaluation.report import line, say
from weightslab.evaluation.request import Outcome, Request


def outcome(state: Any = "done", **fields: Any) -> Outcome:
    return Outcome(Request(1, "val_loader"), state, **fields)


def test_the_line_is_the_seeds_to_the_letter() -> None:
    """Name, step, an em dash, and four digits of every signal in order."""
    results = {"eval_loss": 0.23136, "accuracy": 0.912}
    assert line(outcome(step=1200, results=results)) == (
        "[WeightsLab] Evaluation 'val_loader' @ step 1200 — eval_loss=0.2314, accuracy=0.9120"
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(math.nan, "nan"), (-math.inf, "-inf"), (1e30, f"{1e30:.4f}")]
)
def test_every_number_has_a_text(value: float, shown: str) -> None:
    """NaN and infinities say so."""
    assert line(outcome(step=0, results={"a": value})).endswith(f"a={shown}")


def test_no_values_are_said() -> None:
    """An evaluation that recorded nothing does not look like one that did."""
    assert line(outcome(step=3)).endswith("@ step 3 — no values were recorded")


def test_a_failure_and_a_cancellation_say_why() -> None:
    """The error stands where the results would."""
    assert line(outcome("failed", step=3, error="ValueError: no")) == (
        "[WeightsLab] Evaluation 'val_loader' @ step 3 failed — ValueError: no"
    )
    assert line(outcome("cancelled", error="it was cancelled")) == (
        "[WeightsLab] Evaluation 'val_loader' cancelled — it was cancelled"
    )


def test_it_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """A line, and nothing on standard error."""
    say("a — b")
    assert capsys.readouterr() == ("a — b\n", "")


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Broken(), closed(), object()])
def test_a_stdout_that_does_not_work_does_not_matter(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stdout, a broken pipe, a closed one, something else: nothing is raised."""
    monkeypatch.setattr(sys, "stdout", stream)
    say("a — b")


def test_a_terminal_without_a_dash_gets_a_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ASCII stdout shows the line all the same."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    say("a — b")
    stream.flush()
    assert stream.buffer.getvalue() == b"a - b\n"  # type: ignore[attr-defined]


def test_letters_that_a_terminal_lacks_do_not_cost_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are shown by their numbers."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    say("'v\u00e5l' — 1")
    stream.flush()
    assert stream.buffer.getvalue() == b"'v\\xe5l' - 1\n"  # type: ignore[attr-defined]


def test_an_error_of_many_lines_takes_one() -> None:
    """A loader's worker sends a traceback along."""
    said = line(outcome("failed", error="OSError: broken\nTraceback:\n  File"))
    assert said.endswith("failed — OSError: broken")
