"""What the filters of an export mean, and the file name that follows from them.

Two calls that keep the same rows get the same name, in every process; two calls
that differ get different names. Pure: nothing here writes.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from weightslab.errors import InputError, UnknownOptionError
from weightslab.ledger.layout import Kind

__all__ = [
    "FORMATS",
    "KINDS",
    "Filter",
    "annotation_numbers",
    "automatic_name",
    "checked_format",
    "hash_filter",
    "kinds_of",
    "names",
    "say_unknown",
    "signal_names",
    "target_path",
]

FORMATS = ("json", "csv", "parquet", "arrow")
KINDS: tuple[Kind, ...] = ("global", "sample", "instance")

Filter: TypeAlias = str | list[str] | list[int] | None
"""A filter in its one normal form: "all", a sorted list without repeats, or a word."""

_PREFIX = "signals//"
_TYPES: dict[str | None, tuple[Kind, ...]] = {
    None: KINDS,
    "all": KINDS,
    "global": ("global",),
    "sample": ("sample",),
    "instance": ("instance",),
    "instances": ("instance",),
}
_NAMED_IN_A_MESSAGE = 5


def kinds_of(type_of_history: str | None, what: str = "type_of_history") -> tuple[Kind, ...]:
    """Layers that a `type_of_history` selects, in the order of the file.

    `what` is the argument as the caller knows it.
    """
    try:
        return _TYPES[type_of_history]
    except (KeyError, TypeError):
        known = [name for name in _TYPES if name is not None]
        raise UnknownOptionError(what, type_of_history, known) from None


def checked_format(name: str) -> str:
    """`name`, if it is a format that can be written."""
    if name not in FORMATS:
        raise UnknownOptionError("format", name, FORMATS)
    return name


def _flat(value: object, what: str) -> Iterable[object]:
    if value is None or isinstance(value, (Mapping, bytes)):
        raise InputError(
            f"{what} must be one value, a list of values or None for all; "
            f"got {'None inside a list' if value is None else type(value).__name__}"
        )
    if isinstance(value, (str, int, float)):
        yield value
    elif callable(plain := getattr(value, "tolist", None)):  # numpy, torch: 0-d or more
        yield from _flat(plain(), what)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _flat(item, what)
    else:
        yield value


def names(value: object, what: str) -> list[str] | None:
    """Ids or names as sorted text without repeats; None, which means all, stays None.

    Takes one value or any container of values: text, numbers, numpy, tensors.
    `1`, `"1"`, `np.int64(1)` and `tensor(1)` are one id.
    """
    return None if value is None else sorted({str(item) for item in _flat(value, what)})


def signal_names(value: object, what: str = "graph_name") -> list[str] | None:
    """Names of signals, `"signals//loss"` and `"loss"` being one."""
    found = names(value, what)
    return None if found is None else sorted({name.removeprefix(_PREFIX) for name in found})


def annotation_numbers(value: object, what: str = "instance_id") -> list[int] | None:
    """Annotation numbers, sorted without repeats; 0 is the sample, instances count from 1."""
    if value is None:
        return None
    found = {_annotation(item, what) for item in _flat(value, what)}
    return sorted(found)


def _annotation(item: object, what: str) -> int:
    try:
        number = int(item) if isinstance(item, str) else operator.index(item)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"{what} must be whole numbers: 0 for the sample, 1 and more for its instances; "
            f"got {item!r}"
        ) from None
    if number < 0:
        raise InputError(f"{what} counts instances from 1, and 0 is the sample; got {number}")
    return number


def hash_filter(
    experiment_hash: str | None,
    current: str | None,
    what: str = "experiment_hash",
    none_means: str = "the current one",
) -> list[str] | None:
    """Hashes that an export keeps; None for every one.

    Not given means the current hash, without the evaluation markers `<hash>_<N>`.
    With no experiment active there is nothing to narrow down to, so every row stays.
    `what` is the argument as the caller knows it, and `none_means` what None does there.
    """
    if experiment_hash is not None and not isinstance(experiment_hash, str):
        raise InputError(
            f"{what} must be a hash as text, 'all', or None for {none_means}; "
            f"got {type(experiment_hash).__name__}"
        )
    wanted = current if experiment_hash is None else experiment_hash
    return None if wanted in (None, "all") else [str(wanted)]


def automatic_name(filters: Mapping[str, Filter], subject: str, format: str) -> str:
    """`<8 hexadecimal digits>_<subject>.<format>`, of the normalised filters.

    The digits are the first of the MD5 over the filters as JSON with sorted keys;
    the format is no part of them.

        >>> automatic_name({"columns": "all"}, "dataframe", "csv")
        '49179ce5_dataframe.csv'
    """
    text = json.dumps(filters, sort_keys=True, separators=(",", ":"))
    digest = hashlib.md5(text.encode("ascii"), usedforsecurity=False).hexdigest()
    return f"{digest[:8]}_{subject}.{format}"


def target_path(path: str | os.PathLike[str] | None, name: str, default_dir: Path) -> Path:
    """File to write: `path` when it has an extension, else `name` inside that folder."""
    if path is None:
        return default_dir / name
    text = path if isinstance(path, str) else _plain_path(path)
    if not text:
        raise InputError(f"path must name a file or a folder, or be None; got {path!r}")
    found = Path(text).expanduser()
    if found.suffix and not found.is_dir() and not text.endswith(("/", os.sep)):
        return found
    return found / name


def _plain_path(path: object) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if isinstance(text, str):
        return text
    raise InputError(
        f"path must be a file with an extension, a folder, or None for the run folder; got {path!r}"
    )


def say_unknown(what: str, asked: Collection[object], known: Collection[object]) -> str | None:
    """Sentence on what was asked for and has no rows; None when all of it has."""
    missing = [item for item in asked if item not in known]
    if not missing:
        return None
    shown = ", ".join(repr(item) for item in missing[:_NAMED_IN_A_MESSAGE])
    more = len(missing) - _NAMED_IN_A_MESSAGE
    return f"no rows for {what} {shown}{f' and {more} more' if more > 0 else ''}"
