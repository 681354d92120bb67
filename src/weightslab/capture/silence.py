"""Watched signals that training goes on without: said, since silence looks like a quiet run."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from weightslab.capture.source import Source, infer_training

if TYPE_CHECKING:
    from weightslab.capture.tap import Tap
    from weightslab.session import Session

__all__ = ["PATIENCE_BATCHES", "listen", "say_silent"]

PATIENCE_BATCHES = 50
"""Batches of a training loader after which a signal should have been heard."""

_TAPS: weakref.WeakKeyDictionary[Session, dict[str, Tap]] = weakref.WeakKeyDictionary()
"""What records each watched signal of a session."""


def listen(session: Session, tap: Tap) -> None:
    """Count a watched signal among those that should be heard of."""
    _TAPS.setdefault(session, {})[tap.spec.name] = tap


def say_silent(source: Source) -> None:
    """Say which signals nothing was heard of, when nothing was of any."""
    taps = _TAPS.get(source.session, {})
    if any(tap.heard for tap in taps.values()):
        return
    silent = [name for name in taps if infer_training(name)]
    if silent:
        names = ", ".join(map(repr, silent))
        source.say(
            "silent",
            f"{source.handed_out} batches of {source.name!r} have passed, and nothing was recorded "
            f"of the watched signals {names}: they are not called, or only inside of "
            f"torch.compile, where nothing can be read. Call the loss outside of the compiled "
            f"function, or compile it first and watch what comes out: "
            f"wl.watch_or_edit(torch.compile(loss), flag='loss')",
        )
