"""Tags, categorical tags and discards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from weightslab.api.arguments import check_flag, check_limit, check_name, check_origin
from weightslab.api.lookup import say_unknown_origin, say_unknown_tag
from weightslab.errors import InputError, UnknownOptionError
from weightslab.ledger import Ledger
from weightslab.ledger.edits.group import EditGroup
from weightslab.ledger.edits.merged import DISCARD, Key
from weightslab.queries.samples import discarded_ids, tagged_ids
from weightslab.session import Session, current, guard_worker
from weightslab.signals.firing import Firing
from weightslab.types import Rows, check_text

__all__ = [
    "discard_samples",
    "get_discarded_samples",
    "get_samples_by_tag",
    "register_categorical_tag",
    "set_categorical_tag",
    "tag_samples",
]

_MODES = ("add", "remove", "set")


def tag_samples(sample_ids: Any, tag: str, mode: Literal["add", "remove", "set"] = "add") -> int:
    """Add a boolean tag to samples, or take it off. Durable when the call returns.

    Where the disk does not take it, a `WeightsLabWarning` says so: the tag then waits in
    memory and is written as soon as the disk works. Inside a signal, edits are collected and
    take effect, durable at once, when it has seen its batch; whatever it reads has them.

    Args:
        sample_ids: one id or many: strings, integers, numpy, tensors, mixed lists.
        tag: name of the tag.
        mode: "add", "remove", or "set", which adds.

    Returns:
        How many samples changed.

    Raises:
        UnknownOptionError: another mode.
        InputError: no tag name, a tag that is categorical, or something that is no id.

    Ids that nobody knows are said once, and keep their tag for when the sample appears.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.1, 2.0]}, ["a", "b"])
        >>> wl.tag_samples(["b"], "hard")
        1
    """
    guard_worker("tag_samples")
    if mode not in _MODES:
        raise UnknownOptionError("mode", mode, _MODES)
    check_name(tag, "tag")
    return _edit(Key("tag", tag), sample_ids, _text(mode != "remove"))


def register_categorical_tag(tag: str, categories: Sequence[str]) -> None:
    """Declare a categorical tag with its allowed values; known again, it gains new ones.

    Durable when the call returns; where the disk does not take it, a `WeightsLabWarning`
    says so, and it waits in memory.

    Raises:
        InputError: no name, a value that is no string or empty, or a boolean tag's name.

    Example:
        >>> import weightslab as wl
        >>> wl.register_categorical_tag("weather", ["rainy", "sunny"])
    """
    guard_worker("register_categorical_tag")
    check_name(tag, "tag")
    if isinstance(categories, (str, bytes)) or not isinstance(categories, Iterable):
        raise InputError(
            f"categories of {tag!r} are a list of strings, not {categories!r} "
            f"({type(categories).__name__})"
        )
    categories = list(categories)
    for value in categories:
        check_name(value, f"a category of {tag!r}")
    ledger = current().ledger
    ledger.check_writable()
    firing = Firing.current(ledger)
    group = None if firing is None else firing.edits
    _check_name_is_free(ledger, Key("category", tag), group)
    ledger.edit.register_category(tag, categories)


def set_categorical_tag(sample_ids: Any, tag: str, value: str | None) -> int:
    """Give samples one value of a categorical tag; a new value is taken up, ""/None clears it.

    Returns:
        How many samples changed. Durable when the call returns, inside a signal when that has
        seen its batch; where the disk does not take it, a `WeightsLabWarning` says so, and it
        waits in memory.

    Raises:
        InputError: a value that is no string, or a boolean tag's name.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.1, 2.0]}, ["a", "b"])
        >>> wl.set_categorical_tag(["a"], "weather", "rainy")
        1
        >>> wl.get_samples_by_tag("weather")
        ['a']
    """
    guard_worker("set_categorical_tag")
    check_name(tag, "tag")
    if value is not None and not isinstance(value, str):
        raise InputError(f"a value of {tag!r} is a string, not {value!r} ({type(value).__name__})")
    check_text(value or "", f"the value of {tag!r}")
    return _edit(Key("category", tag), sample_ids, value or None)


def discard_samples(sample_ids: Any, discarded: bool = True) -> int:
    """Leave samples out of training from the next batch on, or bring them back.

    Loader workers have fetched ahead: with them it is the batches after those.

    Returns:
        How many samples changed. Durable when the call returns, inside a signal when that has
        seen its batch; where the disk does not take it, a `WeightsLabWarning` says so, and it
        waits in memory.

    Raises:
        InputError: something that is no id, or `discarded` that is no True or False.

    Ids that nobody knows are said once, and left out when their sample appears.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.1, 2.0]}, ["a", "b"])
        >>> wl.discard_samples("b")
        1
        >>> wl.get_discarded_samples()
        ['b']
        >>> wl.discard_samples("b", discarded=False)
        1
    """
    guard_worker("discard_samples")
    return _edit(DISCARD, sample_ids, _text(check_flag(discarded, "discarded")))


def get_samples_by_tag(
    tag: str, origin: str | None = "train", limit: int | None = None
) -> list[str]:
    """Ids of the samples that have a tag; of a categorical tag, any value.

    A tag or split that does not exist gives an empty list, and a warning that names the
    nearest.

    Args:
        tag: its name, or that of its column, `tag:<name>`.
        origin: the split; "train" also finds a loader called "train_loader" and the
            reverse; None means every split.
        limit: most ids to give.

    Raises:
        InputError: no tag name, an origin that is no name, or a limit that is negative
            or no whole number.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.1, 2.0]}, ["a", "b"])
        >>> wl.tag_samples(["b"], "hard")
        1
        >>> wl.get_samples_by_tag("hard")
        ['b']
    """
    guard_worker("get_samples_by_tag")
    check_name(tag, "tag")
    limit = check_limit(limit)
    check_origin(origin)
    session = current()
    found = tagged_ids(session.settled(), tag, origin)
    if not found:
        say_unknown_tag(session, tag)
        say_unknown_origin(session, origin)
    return found[:limit]


def get_discarded_samples(origin: str | None = "train", limit: int | None = None) -> list[str]:
    """Ids of the samples that are discarded now; arguments as in `get_samples_by_tag`.

    Example:
        >>> import weightslab as wl
        >>> wl.get_discarded_samples(origin=None)
        []
    """
    guard_worker("get_discarded_samples")
    limit = check_limit(limit)
    check_origin(origin)
    session = current()
    found = discarded_ids(session.settled(), origin)
    if not found:
        say_unknown_origin(session, origin)
    return found[:limit]


def _text(flag: bool) -> str:
    """A flag as the journal writes it."""
    return "true" if flag else "false"


def _edit(key: Key, sample_ids: Any, value: str | None) -> int:
    """Edit at once, or inside a signal with all that it edits; gives how many samples change."""
    session = current()
    ledger = session.ledger
    firing = Firing.current(ledger)
    if firing is None:
        _check_name_is_free(ledger, key, None)
        return ledger.edit.put(key, _rows(session, sample_ids), value)
    group = firing.edits
    if key not in group:
        _check_name_is_free(ledger, key, group)
    known = firing.rows_of(sample_ids)
    if known is None:
        rows = _rows(session, sample_ids)
        group.note_unseen(rows)
        known = rows.tolist()
    return group.put(key, known, value)


def _check_name_is_free(ledger: Ledger, key: Key, group: EditGroup | None) -> None:
    """Refuse a boolean tag by the name of a categorical one, and the reverse."""
    verb, tag = key
    if verb == "tag":
        waits = group is not None and Key("category", tag) in group
        if waits or tag in ledger.categories():
            raise InputError(
                f"{tag!r} is a categorical tag: use wl.set_categorical_tag(ids, {tag!r}, value)"
            )
    elif verb == "category":
        waits = group is not None and Key("tag", tag) in group
        if waits or tag in ledger.tags():
            raise InputError(f"{tag!r} is a boolean tag: choose another name for a categorical one")


def _rows(session: Session, sample_ids: Any) -> Rows:
    """Rows of ids; those that nobody knows are said and get a place without an origin."""
    session.ledger.check_writable()
    rows, unknown = session.look_up(sample_ids)
    if unknown:
        are = "is" if len(unknown) == 1 else "are"
        shown = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
        session.notices.forget("unknown ids")
        session.notices.warn_once(
            "unknown ids",
            f"{len(unknown)} of the ids {are} not known yet ({shown}): "
            f"the edit is kept for when they appear",
            count=len(unknown),
        )
        rows = np.concatenate([rows, session.ledger.ids.add(unknown, None)])
    return rows
