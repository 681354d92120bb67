"""Hyperparameters as one handle: an OmegaConf `DictConfig` that the session knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightslab.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["hyperparameters_handle", "plain_hyperparameters"]


def hyperparameters_handle(obj: Any, *, defaults: Mapping[str, Any] | None = None) -> DictConfig:
    """A `DictConfig` of `obj` over `defaults`.

    A mapping is copied (the caller's own stays as it is); a `DictConfig` without
    defaults is the handle itself. Values may be any object. Raises `InputError`
    for a path, which cannot be watched yet, and for anything that is no mapping.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(obj, (str, os.PathLike)):
        raise InputError(
            f"watching a file of hyperparameters is not there yet; what works now: "
            f"wl.watch_or_edit(OmegaConf.load({os.fspath(obj)!r}), flag='hyperparameters')"
        )
    if not isinstance(obj, (Mapping, DictConfig)):
        raise InputError(
            f"hyperparameters are a dict or an OmegaConf DictConfig, got "
            f"{type(obj).__qualname__}; for an argparse.Namespace give vars(args)"
        )
    if defaults is not None and not isinstance(defaults, (Mapping, DictConfig)):
        raise InputError(f"defaults is a dict, got {type(defaults).__qualname__}")
    try:
        if isinstance(obj, DictConfig):
            handle = obj
        else:
            handle = OmegaConf.create(dict(obj), flags={"allow_objects": True})
        if defaults is not None:
            under = OmegaConf.create(dict(defaults), flags={"allow_objects": True})
            merged = OmegaConf.merge(under, handle)
            assert isinstance(merged, DictConfig)
            handle = merged
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"these hyperparameters cannot be kept: {error}") from error
    return handle


def plain_hyperparameters(handle: Any) -> Mapping[str, Any] | None:
    """What a handle holds, as plain containers; interpolations stay as they are written."""
    if handle is None:
        return None
    from omegaconf import OmegaConf

    if not OmegaConf.is_config(handle):
        return handle if isinstance(handle, Mapping) else None
    plain = OmegaConf.to_container(handle, resolve=False)
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else None
