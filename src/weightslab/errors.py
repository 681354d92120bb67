"""Every error and warning of WeightsLab, in one tree.

WeightsLabError
├── InputError (ValueError)            a value that cannot be used
│   ├── LengthMismatchError            batch lengths that do not agree
│   └── UnknownOptionError             an option or choice that does not exist
├── MissingPackageError (ImportError)  an extra that is not installed
├── StateError (RuntimeError)          a call at a moment when it cannot work
│   ├── ReadOnlyError                  a write on a folder opened for reading
│   ├── WorkerProcessError             a verb called inside a DataLoader worker
│   ├── AllDiscardedError              a loader whose every sample is discarded
│   └── EvaluationError                an evaluation that could not be carried out
│       ├── EvaluationCancelled        ... because somebody ended it
│       └── EvaluationTimeout          ... because it took too long
└── FolderError (OSError)              a run folder that cannot be used
    └── LedgerFormatError              ... because its format is unknown or damaged

WeightsLabWarning (UserWarning)        something was left out, counted and goes on
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AllDiscardedError",
    "EvaluationCancelled",
    "EvaluationError",
    "EvaluationTimeout",
    "FolderError",
    "InputError",
    "LedgerFormatError",
    "LengthMismatchError",
    "MissingPackageError",
    "ReadOnlyError",
    "StateError",
    "UnknownOptionError",
    "WeightsLabError",
    "WeightsLabWarning",
    "WorkerProcessError",
]


class WeightsLabError(Exception):
    """Base of every error that WeightsLab raises on purpose."""


class InputError(WeightsLabError, ValueError):
    """An argument that cannot be used; nothing of the call was done."""


class LengthMismatchError(InputError):
    """Values and ids whose lengths differ; nothing of the call was written."""

    def __init__(self, signal: str, found: int, expected: int, *, expected_of: str) -> None:
        super().__init__(
            f"signal {signal!r} has {found} values but {expected_of} has {expected}: "
            f"give one value for each; nothing of this call was written"
        )
        self.signal = signal
        self.found = found
        self.expected = expected


class UnknownOptionError(InputError):
    """A name that is not among the known ones; the message names the nearest."""

    def __init__(self, what: str, given: object, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
        hint = f" did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {what} {given!r};{hint} known: {', '.join(names) or 'none'}")
        self.given = given
        self.known = tuple(names)


class MissingPackageError(WeightsLabError, ImportError):
    """A package of an optional extra is needed and not installed."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}: "
            f"pip install {package} (it comes with the extra {extra!r})"
        )
        self.package = package


class StateError(WeightsLabError, RuntimeError):
    """The call is fine, the moment is not."""


class ReadOnlyError(StateError):
    """A write on a run folder that was opened for reading."""


class WorkerProcessError(StateError):
    """A verb that keeps state was called inside a DataLoader worker."""


class AllDiscardedError(StateError):
    """Every sample of a watched loader is discarded."""


class EvaluationError(StateError):
    """An evaluation that could not be carried out; nothing of it was published."""


class EvaluationCancelled(EvaluationError):  # noqa: N818  # what somebody wanted is no error
    """An evaluation that somebody ended before its last batch."""


class EvaluationTimeout(EvaluationError):  # noqa: N818  # named as its fellow is
    """An evaluation that did not end in its time."""


class FolderError(WeightsLabError, OSError):
    """A run folder that cannot be opened or made."""


class LedgerFormatError(FolderError):
    """A run folder whose format this version does not know."""


class WeightsLabWarning(UserWarning):
    """Something was left out; it was counted and the run goes on."""
