"""Values that cross rooms: the ids of a batch, as rows and as text.

Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError

__all__ = ["BatchIds", "Namer", "Rows", "SampleIds", "check_text"]

Rows = npt.NDArray[np.int32]
"""Dense sample numbers of one ledger writer, int32 [B]."""

Namer = Callable[[Rows], list[str]]
"""Gives the sample ids of rows."""


def check_text(text: str, what: str) -> None:
    """Refuse text that no file can hold: half of a surrogate pair.

    `os.listdir` makes such text of file names that are not UTF-8. Raises `InputError`.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} {text!r} is no text that UTF-8 can hold (character {error.start} is half of a "
            f"surrogate pair; a file name that is not UTF-8?): give it another name, such as "
            f"{text.encode(errors='backslashreplace').decode()!r}"
        ) from None


class SampleIds(Sequence[str]):
    """The ids of one batch: a read-only sequence of B strings.

    The strings are made when somebody looks at them; a loop that only hands
    the ids on pays for none. Equal to any list or tuple of the same strings.
    """

    __slots__ = ("_names", "namer", "rows")

    def __init__(self, rows: Rows, namer: Namer) -> None:
        self.rows = rows
        self.namer = namer
        self._names: list[str] | None = None

    def _strings(self) -> list[str]:
        if self._names is None:
            self._names = self.namer(self.rows)
        return self._names

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._strings()[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._strings())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (SampleIds, list, tuple)):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compares like a list, so it hashes like one

    def __repr__(self) -> str:
        return f"SampleIds({self._strings()!r})"

    def __reduce__(self) -> tuple[type[list[str]], tuple[list[str]]]:
        # A copy in another process or file has no ledger behind it: plain strings travel.
        return (list, (self._strings(),))


@dataclass(slots=True)
class BatchIds:
    """Which samples the batch in the consumer's hands holds.

    Nobody changes one; it is not frozen because each batch has one, and to make a frozen
    one takes three times as long.
    """

    ids: SampleIds
    origin: str
    """Name of the loader or split."""
    given: Any = field(default=None, compare=False)
    """What stood in the batch as ids, whether or not it names the samples."""

    @property
    def rows(self) -> Rows:
        """Dense rows, int32 [B]."""
        return self.ids.rows

    def __len__(self) -> int:
        return len(self.ids)
