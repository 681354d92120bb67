"""The one owner of process state."""

from weightslab.session.process import current, current_or_none, guard_worker, reset
from weightslab.session.session import Session

__all__ = ["Session", "current", "current_or_none", "guard_worker", "reset"]
