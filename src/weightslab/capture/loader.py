"""`watch_or_edit(..., flag="data")`: a loader, or a dataset that becomes one, is watched."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset

from weightslab.capture.bases import layout_of
from weightslab.capture.evaluation_loader import evaluation_loader
from weightslab.capture.options import checked_flag, checked_object_name
from weightslab.capture.shadow import plain_loader, shadow, source_of
from weightslab.capture.source import OnDiscard, Source, SourceOptions, infer_training
from weightslab.capture.tracking import IdFunction
from weightslab.errors import InputError, UnknownOptionError

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["DATASET_OPTIONS", "OPTIONS", "infer_training", "watch_loader"]

DATASET_OPTIONS = frozenset({"batch_size", "collate_fn", "drop_last", "num_workers", "shuffle"})
"""Options that make a loader of a dataset."""

OPTIONS = DATASET_OPTIONS | {"append_ids", "id_fn", "ids", "is_training"}
"""Every option of `watch_loader` beside its name."""

KIND = "loaders"
UNNAMED = "train"


def watch_loader(
    session: Session,
    obj: Any,
    *,
    name: str | None = None,
    is_training: bool | None = None,
    append_ids: bool = True,
    id_fn: IdFunction | None = None,
    ids: bool | None = None,
    on_discard: OnDiscard = "shrink",
    queued: bool = False,
    **dataset_options: Any,
) -> DataLoader[Any]:
    """Watch a DataLoader, or a dataset as the loader that the options make of it.

    Args:
        session: whose samples these are.
        obj: a DataLoader of any class (yours stays as it is), or a dataset.
        name: the loader's name and the origin of its samples. Registering a name
            again replaces the former loader. The first loader without a name is
            "train"; one over another dataset after it is "train_2", and a notice
            asks for names.
        is_training: whether discards shrink its epochs and whether the session's
            safe points are here; by default unless the name says validation.
        append_ids: whether a batch of two items gets the ids as its third.
        id_fn: the id of an item, called with the item as the dataset returned it,
            in the worker. With `batch_size=None` it may return a list.
        ids: True takes integers in the batch's id field as ids without question;
            False takes nothing in the batch as ids.
        on_discard: what becomes of a discarded sample's place; for trainers.
        queued: whether batches wait until a trainer receives them.
        dataset_options: DATASET_OPTIONS, for a dataset only.

    Returns:
        A shadow of the loader, of the same class.

    Raises:
        InputError: `obj` is neither, or dataset options came with a loader.
        UnknownOptionError: an option that does not exist.
    """
    for option in dataset_options:
        if option not in DATASET_OPTIONS:
            raise UnknownOptionError("option", option, OPTIONS)
    if id_fn is not None and not callable(id_fn):
        raise InputError(
            f"id_fn must be a function from an item to its id, not {type(id_fn).__name__}"
        )
    for option in ("shuffle", "drop_last"):
        if option in dataset_options:
            none_is_fine = option == "shuffle"
            dataset_options[option] = checked_flag(
                option, dataset_options[option], none=none_is_fine
            )
    is_training = checked_flag("is_training", is_training, none=True)
    append_ids = checked_flag("append_ids", append_ids)
    ids = checked_flag("ids", ids, none=True)
    loader = _loader_of(obj, dataset_options)
    name = _name_for(session, loader, name)
    options = SourceOptions(
        is_training=infer_training(name) if is_training is None else is_training,
        append_ids=append_ids,
        id_fn=id_fn,
        ids=ids,
        on_discard=on_discard,
        queued=queued,
    )
    source = Source(session, name, loader.dataset, options)
    watched = shadow(loader, source)
    # Weakly: a loader that nobody holds any more ends its workers at once, in no circle.
    source.again = partial(evaluation_loader, weakref.ref(watched))
    session.registry.register(KIND, name, watched)
    session.registry.register_source(source)
    return watched


def _loader_of(obj: Any, dataset_options: Mapping[str, Any]) -> DataLoader[Any]:
    if isinstance(obj, DataLoader):
        if dataset_options:
            given = ", ".join(f"{option}=" for option in sorted(dataset_options))
            raise InputError(
                f"{given} make a loader of a dataset, and this is a {type(obj).__name__} already: "
                f"give them where you make it"
            )
        return plain_loader(obj)
    if isinstance(obj, Mapping) and not isinstance(obj, Dataset):
        keys = ", ".join(repr(key) for key in list(obj)[:4])
        raise InputError(
            f"flag='data' takes a DataLoader or a dataset, not a {type(obj).__name__} of several "
            f"things (keys: {keys}): watch each one under its own loader_name="
        )
    iterable = isinstance(obj, IterableDataset)
    if isinstance(obj, (str, bytes, type)) or not (iterable or hasattr(type(obj), "__getitem__")):
        raise InputError(
            f"flag='data' takes a DataLoader or a dataset (with __getitem__ and __len__, or an "
            f"IterableDataset), not {type(obj).__name__} {obj!r:.60}"
        )
    for option, value in dataset_options.items():
        _check_dataset_option(option, value)
    try:
        return DataLoader(obj, **dataset_options)
    except (TypeError, ValueError, AttributeError) as error:
        given = ", ".join(f"{option}={value!r}" for option, value in dataset_options.items())
        raise InputError(
            f"no DataLoader can be made of this {type(obj).__name__} with {given or 'no options'}: "
            f"{error}"
        ) from error


def _check_dataset_option(option: str, value: Any) -> None:
    least = {"batch_size": 1, "num_workers": 0}.get(option)
    if least is not None:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if (value is None and option == "batch_size") or (whole and value >= least):
            return
        raise InputError(f"{option}= takes a whole number of at least {least}, got {value!r}")
    if option == "collate_fn" and value is not None and not callable(value):
        raise InputError(f"collate_fn= takes a function from items to a batch, got {value!r:.60}")


def _name_for(session: Session, loader: DataLoader[Any], name: str | None) -> str:
    """The given name, or one for a loader without."""
    if name is not None:
        return checked_object_name("loader_name", name)
    bases = {id(dataset) for dataset in layout_of(loader.dataset).datasets}
    number = 1
    while True:
        candidate = UNNAMED if number == 1 else f"{UNNAMED}_{number}"
        holder = session.registry.loaders.get(candidate)
        if holder is None:
            break
        source = source_of(holder)
        if source is not None and bases & {id(dataset) for dataset in source.base_datasets}:
            return candidate
        number += 1
    if number > 1:
        session.notices.warn_once(
            ("loader", candidate, "unnamed"),
            f"a second loader without a name is called {candidate!r} and counts as a training "
            f"loader: give each one its loader_name= (and is_training=False for validation)",
        )
    return candidate
