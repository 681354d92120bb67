"""`watch_or_edit(..., flag="data")`: a loader, or a dataset that becomes one, is watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset

from weightslab.capture.bases import layout_of
from weightslab.capture.shadow import plain_loader, shadow, source_of
from weightslab.capture.source import Source, SourceOptions
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
EVALUATION_WORDS = ("val", "test", "eval", "dev")


def watch_loader(
    session: Session,
    obj: Any,
    *,
    name: str | None = None,
    is_training: bool | None = None,
    append_ids: bool = True,
    id_fn: IdFunction | None = None,
    ids: bool | None = None,
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
    loader = _loader_of(obj, dataset_options)
    name = _name_for(session, loader, name)
    options = SourceOptions(
        is_training=infer_training(name) if is_training is None else bool(is_training),
        append_ids=bool(append_ids),
        id_fn=id_fn,
        ids=ids,
    )
    source = Source(session, name, loader.dataset, options)
    watched = shadow(loader, source)
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
    if isinstance(obj, IterableDataset) or hasattr(type(obj), "__getitem__"):
        return DataLoader(obj, **dataset_options)
    raise InputError(
        f"flag='data' takes a DataLoader or a dataset (with __getitem__, or an IterableDataset), "
        f"not {type(obj).__name__}"
    )


def _name_for(session: Session, loader: DataLoader[Any], name: str | None) -> str:
    """The given name, or one for a loader without."""
    if name is not None:
        if not isinstance(name, str) or not name:
            raise InputError(f"loader_name= must be a text, not {name!r}")
        return name
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


def infer_training(name: str) -> bool:
    """Whether a loader of this name trains: unless it says val, test, eval or dev."""
    lowered = name.lower()
    return not any(word in lowered for word in EVALUATION_WORDS)
