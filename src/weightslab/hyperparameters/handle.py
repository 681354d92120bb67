"""The handle of hyperparameters: an OmegaConf `DictConfig` that the script reads and writes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import dotted

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = [
    "copied",
    "held_by",
    "hyperparameters_handle",
    "raw_tree",
    "resolved_tree",
]

_TRIES = 20


def hyperparameters_handle(obj: Any, *, defaults: Mapping[str, Any] | None = None) -> DictConfig:
    """A `DictConfig` of `obj` over `defaults`.

    A mapping is copied (the caller's own stays as it is); a `DictConfig` without
    defaults is the handle itself. Values may be any object. Raises `InputError`
    for anything that is no mapping.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(obj, (Mapping, DictConfig)):
        raise InputError(
            f"hyperparameters are a dict, an OmegaConf DictConfig or the path of a YAML file, got "
            f"{_named(obj)}; for an argparse.Namespace give vars(args), and for a dataclass "
            f"OmegaConf.structured(it)"
        )
    if defaults is not None and not isinstance(defaults, (Mapping, DictConfig)):
        raise InputError(f"defaults is a dict, got {type(defaults).__qualname__}")
    try:
        handle = obj if isinstance(obj, DictConfig) else _created(obj)
        if defaults is not None:
            under = defaults if isinstance(defaults, DictConfig) else _created(defaults)
            merged = OmegaConf.merge(under, handle)
            assert isinstance(merged, DictConfig)
            handle = merged
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"these hyperparameters cannot be kept: {error}") from error
    return handle


def _named(obj: Any) -> str:
    return f"the class {obj.__name__}" if isinstance(obj, type) else type(obj).__qualname__


def _created(mapping: Mapping[Any, Any]) -> DictConfig:
    from omegaconf import OmegaConf

    return OmegaConf.create(dict(mapping), flags={"allow_objects": True})


def held_by(handle: DictConfig) -> list[Any]:
    """Every container, key and value of a handle, by nothing but a look: 0.2 µs for each.

    Who finds the very same objects again knows that nobody wrote to the handle.
    """
    found: list[Any] = []
    waiting: list[Any] = [handle]
    while waiting:
        node = waiting.pop()
        state = vars(node)
        content = state.get("_content", state.get("_val"))
        if type(content) is dict:
            found.append(node)
            for key, child in list(content.items()):  # others may write meanwhile
                found.append(key)
                waiting.append(child)
        elif type(content) is list and "_content" in state:
            found.append(node)
            waiting.extend(content)
        elif hasattr(content, "_metadata"):  # the one value of a node that may be of several types
            waiting.append(content)
        else:
            found.append(content)
    return found


def raw_tree(handle: Any) -> dict[Any, Any]:
    """Plain containers with the keys as they are; interpolations and `???` as they are written.

    May be called while another thread writes to the handle.
    """
    from omegaconf import OmegaConf

    for left in reversed(range(_TRIES)):
        try:
            plain = OmegaConf.to_container(handle, resolve=False)
        except RuntimeError:  # a dict that changed its size under us
            if not left:
                raise
        else:
            break
    return plain if isinstance(plain, dict) else {}


def resolved_tree(handle: DictConfig) -> tuple[dict[Any, Any], dict[str, str]]:
    """Plain containers with every interpolation followed, and what could not be: why, by key.

    What cannot be followed stays as it is written, and so does `???`.
    """
    failed: dict[str, str] = {}
    return _resolved(handle, (), failed), failed


def _resolved(node: Any, above: tuple[Any, ...], failed: dict[str, str]) -> dict[Any, Any]:
    from omegaconf import OmegaConf

    tree = raw_tree(node)
    for key, written in tree.items():
        try:
            if isinstance(written, str) and written == "???":  # an array would compare itself
                continue
            value = node[key]
            if not OmegaConf.is_config(value):
                tree[key] = value
            elif OmegaConf.is_dict(value) and not OmegaConf.is_interpolation(node, key):
                tree[key] = _resolved(value, (*above, key), failed)
            else:
                tree[key] = OmegaConf.to_container(value, resolve=True)
        except Exception as error:  # noqa: BLE001  # resolvers are functions of the user's
            failed[dotted((*above, key))] = str(error).partition("\n")[0] or type(error).__name__
    return tree


def copied(handle: DictConfig) -> DictConfig:
    """A copy with types and flags, that shares the objects among the values.

    `copy.deepcopy` of a config cuts its nodes off from their parents for a moment, and a thread
    that follows an interpolation meanwhile fails; this one changes nothing in `handle`.
    """
    twin: DictConfig = _copied(handle, vars(handle)["_parent"])
    return twin


def _copied(node: Any, parent: Any) -> Any:
    twin = object.__new__(type(node))
    state = dict(vars(node))
    metadata = state["_metadata"] = copy.copy(state["_metadata"])
    metadata.flags = dict(metadata.flags or {})
    state |= {"_parent": parent, "_flags_cache": None}
    vars(twin).update(state)
    content = state.get("_content")
    if isinstance(content, dict):
        vars(twin)["_content"] = {key: _copied(n, twin) for key, n in dict(content).items()}
    elif isinstance(content, list):
        vars(twin)["_content"] = [_copied(n, twin) for n in list(content)]
    elif hasattr(content, "_metadata"):  # the one value of a node that may be of several types
        vars(twin)["_content"] = _copied(content, twin)
    return twin
