"""What an evaluation says on the terminal."""

from __future__ import annotations

import contextlib
import sys

from weightslab.evaluation.request import Outcome

__all__ = ["line", "say"]


def line(outcome: Outcome) -> str:
    """One line on an evaluation that is over.

    >>> from weightslab.evaluation.request import Request
    >>> line(Outcome(Request(1, "val_loader"), "done", step=12, results={"loss": 0.23144}))
    "[WeightsLab] Evaluation 'val_loader' @ step 12 — loss=0.2314"
    """
    where = "" if outcome.step is None else f" @ step {outcome.step}"
    head = f"[WeightsLab] Evaluation {outcome.request.loader_name!r}{where}"
    if outcome.state != "done":
        # One line: the error of a loader's worker holds a whole traceback.
        why = next(iter((outcome.error or "").splitlines()), "")
        return f"{head} {outcome.state} — {why}"
    shown = ", ".join(f"{name}={value:.4f}" for name, value in outcome.results.items())
    return f"{head} — {shown or 'no values were recorded'}"


def say(text: str) -> None:
    """Print a line to stdout, whatever stdout is: none, closed, full, or of few letters."""
    stream = sys.stdout
    with contextlib.suppress(Exception):
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            letters = getattr(stream, "encoding", None) or "ascii"
            shown = text.replace("—", "-").encode(letters, "backslashreplace").decode(letters)
            print(shown, file=stream, flush=True)
