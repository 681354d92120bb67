"""The explicit session, and a fresh start."""

from __future__ import annotations

from weightslab.session import Session, reset

__all__ = ["Session", "reset"]
