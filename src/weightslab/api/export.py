"""`write_history` and `write_dataframe`: what a run has recorded, as files for other tools."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from weightslab.api.lookup import known_ids
from weightslab.session import current, guard_worker

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["write_dataframe", "write_history"]


def write_history(
    path: str | os.PathLike[str] | None = None,
    format: str = "json",
    type_of_history: str | None = None,
    graph_name: object = None,
    experiment_hash: str | None = None,
    sample_id: object = None,
    instance_id: object = None,
) -> Path:
    """Write the history of signals to one file, and give its path.

    The file appears by one rename: another process sees all of it or what stood there.

    Args:
        path: a file (anything with an extension), or a folder, which is made, for an
            automatic name `<8 hexadecimal digits>_history.<format>`: the same filters
            give the same name, and overwrite it. None: the run folder, else the working
            directory.
        format: "json", "csv", "parquet" or "arrow". It decides the content, whatever
            the extension of `path` says.
        type_of_history: "global" (curves), "sample", "instance"; None, or "all": all three.
        graph_name: one signal or several; `"loss"` and `"signals//loss"` are one.
        experiment_hash: None: the current one, without the evaluation markers
            `<hash>_<N>`; "all": every one; else the one that is named.
        sample_id: one id or several, for the rows of samples and instances.
        instance_id: one annotation number or several, for the rows of instances.

    Returns:
        The file. JSON: an object with a list of rows under each selected layer, NaN and
        infinities as null. The others: one table, empty where a column does not apply.
        Names that no row has are said in a warning.

    Raises:
        UnknownOptionError: a format or type that does not exist.
        InputError: another argument that cannot be meant. Nothing was written.
        OSError: the disk refused; what stood there still does.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5]}, ["cat.png"], step=3)
        >>> wl.write_history("loss.csv", format="csv", type_of_history="sample").name
        'loss.csv'
    """
    guard_worker("write_history")

    from weightslab.export.history import write_history_frames
    from weightslab.queries.history import history_pieces

    session = current()
    folder = _folder(session)  # before a ledger is opened and names one
    ledger = session.settled()
    write = partial(
        write_history_frames,
        partial(history_pieces, ledger),
        path=path,
        format=format,
        type_of_history=type_of_history,
        graph_name=graph_name,
        experiment_hash=experiment_hash,
        sample_id=known_ids(session, sample_id),
        instance_id=instance_id,
        default_dir=folder,
        current_hash=session.experiment_hash,
        warn=partial(_say, session),
    )
    return ledger.look(write)


def write_dataframe(
    path: str | os.PathLike[str] | None = None,
    format: str = "json",
    columns: object = None,
    sample_id: object = None,
    instance_id: object = None,
) -> Path:
    """Write the sample table to one file, and give its path.

    One row per (sample_id, annotation_id): 0 is the sample, its instances count from 1.
    The file appears by one rename: another process sees all of it or what stood there.

    Args:
        path: a file (anything with an extension), or a folder, which is made, for an
            automatic name `<8 hexadecimal digits>_dataframe.<format>`: the same filters
            give the same name, and overwrite it. None: the run folder, else the working
            directory.
        format: "json", "csv", "parquet" or "arrow". It decides the content, whatever
            the extension of `path` says.
        columns: "tags", "signals", "discarded", a column, or a list of these; None, or
            "all": every column. `"signals//loss"`, `"signals_loss"` and `"loss"` are one.
        sample_id: one id or several; None: all.
        instance_id: one annotation number or several (0: the samples only); None: all.

    Returns:
        The file. JSON: a list of rows, each with the signals of its own layer, NaN and
        infinities as null. The others: one table, empty where a row has no value. Ids
        that no row has are said in a warning.

    Raises:
        UnknownOptionError: a format or column that does not exist.
        InputError: another argument that cannot be meant. Nothing was written.
        OSError: the disk refused; what stood there still does.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5]}, ["cat.png"], step=3)
        >>> wl.write_dataframe("table.json", columns=["signals", "discarded"]).name
        'table.json'
    """
    guard_worker("write_dataframe")

    from weightslab.export.dataframe import chosen_columns, write_dataframe_frame
    from weightslab.export.naming import names
    from weightslab.queries.samples import samples_frame

    session = current()
    folder = _folder(session)
    choice = partial(chosen_columns, chosen=names(columns, "columns"))
    return write_dataframe_frame(
        samples_frame(session.settled(), columns=choice),
        path=path,
        format=format,
        columns=columns,
        sample_id=known_ids(session, sample_id),
        instance_id=instance_id,
        default_dir=folder,
        warn=partial(_say, session),
    )


def _folder(session: Session) -> Path:
    return Path.cwd() if session.root_log_dir is None else Path(session.root_log_dir)


def _say(session: Session, message: str) -> None:
    session.notices.warn_once(("export", message), message)
