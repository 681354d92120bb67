"""Edits of a handle in place, tried on a copy first: what somebody holds of it stays live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import MISSING, dotted, same
from weightslab.hyperparameters.handle import copied, resolved_tree
from weightslab.hyperparameters.sound import check_sound

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["Edit", "mould", "tried"]


@dataclass(frozen=True, slots=True)
class Edit:
    """What a source wants: only what differs between the two trees is changed."""

    before: Mapping[Any, Any]
    """What the source held; empty where it says nothing but what it wants."""
    after: Mapping[Any, Any]
    actor: str
    """Who asks: "file", "user", a client."""


def tried(handle: DictConfig, edits: Iterable[Edit]) -> DictConfig:
    """A copy of `handle` with the edits made.

    Raises:
        InputError: the flags or types of the config do not allow them, an interpolation
            that could be followed before could not be followed after them, or code that
            reads the handle would fail; see `check_sound`.
    """
    from omegaconf.errors import OmegaConfBaseException

    copy = copied(handle)
    before, failed_before = resolved_tree(copy)
    try:
        for edit in edits:
            mould(copy, edit)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise InputError(_said(error)) from error
    after, failed = resolved_tree(copy)
    for key, why in failed.items():
        if key not in failed_before:
            raise InputError(f"{key} could not be read any more: {why}")
    check_sound(before, after)
    return copy


def _said(error: Exception) -> str:
    """The first line of an error of OmegaConf, with the key that it speaks of."""
    key, text = getattr(error, "full_key", None), str(error).partition("\n")[0]
    return f"{key}: {text}" if key else text


def mould(handle: DictConfig, edit: Edit) -> list[str]:
    """Make an edit in place; gives the keys that were links and are not any more."""
    lost: list[str] = []
    _mould(handle, edit.before, edit.after, (), lost)
    return lost


def _mould(
    node: Any,
    before: Mapping[Any, Any],
    after: Mapping[Any, Any],
    above: tuple[Any, ...],
    lost: list[str],
) -> None:
    from omegaconf import OmegaConf

    # `in node` is false for `???` and for a link that leads nowhere: its keys say what is there.
    for key in before:
        if key not in after and key in set(node.keys()):
            del node[key]
    for key, value in after.items():
        old = before.get(key, MISSING)
        if same(old, value):
            continue
        child = _child(node, key, through_links=old is MISSING)
        if isinstance(value, Mapping) and OmegaConf.is_dict(child):
            inner = old if isinstance(old, Mapping) else {}
            _mould(child, inner, value, (*above, key), lost)
        elif isinstance(value, (list, tuple)) and OmegaConf.is_list(child):
            _mould_list(child, value)
        else:
            if _is_link(node, key) and (old is MISSING or not _is_written_link(old)):
                lost.append(dotted((*above, key)))
            node[key] = value


def _child(node: Any, key: Any, *, through_links: bool) -> Any:
    """The container under a key; None where there is none, or only a link that is not followed."""
    from omegaconf import OmegaConf

    if key not in set(node.keys()) or OmegaConf.is_missing(node, key):
        return None
    if OmegaConf.is_interpolation(node, key) and not through_links:
        return None
    return node[key]


def _is_link(node: Any, key: Any) -> bool:
    from omegaconf import OmegaConf

    return key in set(node.keys()) and OmegaConf.is_interpolation(node, key)


def _is_written_link(text: Any) -> bool:
    return isinstance(text, str) and "${" in text


def _mould_list(node: Any, value: Iterable[Any]) -> None:
    from omegaconf import OmegaConf

    wanted = list(value)
    there = OmegaConf.to_container(node, resolve=False)
    assert isinstance(there, list)
    while len(node) > len(wanted):
        node.pop()
    for at, item in enumerate(wanted):
        if at >= len(there):
            node.append(item)
        elif not same(there[at], item):
            node[at] = item
