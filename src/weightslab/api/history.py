"""Reading back what a run has recorded: as tuples, to the letter of the seed, and as frames.

Every verb sees each value whose saving call has returned, on disk or not.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from weightslab.api.arguments import check_launch, check_name, check_origin
from weightslab.api.lookup import (
    say_unknown_hashes,
    say_unknown_origin,
    say_unknown_signals,
    say_unknown_tag,
)
from weightslab.errors import InputError
from weightslab.export.naming import (
    annotation_numbers,
    hash_filter,
    kinds_of,
    names,
    signal_names,
)
from weightslab.queries.lookup import id_texts
from weightslab.queries.trajectories import Trajectory, trajectories
from weightslab.session import Session, current, current_or_none, guard_worker
from weightslab.signals.firing import Firing

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "get_current_experiment_hash",
    "history",
    "query_instance_history",
    "query_sample_history",
    "query_signal_history",
    "samples",
    "scan_history",
]

SignalRow = tuple[str, int, float, str | None]
"""(signal_name, step, value, experiment_hash)."""


def get_current_experiment_hash() -> str | None:
    """Hash of the experiment that is running; None when nothing has named one.

    It names a state of hyperparameters, architecture and discarded samples: the same
    content gives the same hash in another process, and a change gives a new one at the
    next training step.

    Example:
        >>> import weightslab as wl
        >>> wl.get_current_experiment_hash() is None
        True
    """
    guard_worker("get_current_experiment_hash")
    session = current_or_none()
    return None if session is None else session.experiment_hash


def query_signal_history(
    signal_name: str, exp_hash: str | None = None
) -> list[tuple[str, int, float, str | None]]:
    """Every per-sample value of one signal: (sample_id, step, value, experiment_hash).

    By sample, then in order of arrival; every launch. For millions of rows, `history`
    gives a frame.

    Args:
        signal_name: the signal; `"loss"` and `"signals//loss"` are one.
        exp_hash: one experiment only. None, or "all": every one.

    Raises:
        InputError: an argument that cannot be meant.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5]}, ["cat.png"], step=3)
        >>> [row[:3] for row in wl.query_signal_history("loss")]
        [('cat.png', 3, 0.5)]
    """
    guard_worker("query_signal_history")
    if signal_name is None:
        raise InputError("signal_name must be the name of a signal; got None")
    frame = history(signal_name, exp_hash=exp_hash)
    return frame.select("sample_id", "step", "value", "experiment_hash").rows()


def query_sample_history(
    sample_id: object, signal_name: str | None = None, exp_hash: str | None = None
) -> list[SignalRow]:
    """Every value of one sample: (signal_name, step, value, experiment_hash).

    By signal, then in order of arrival; every launch. An id that has no values gives
    an empty list. Inside a signal the first call reads for all samples of the batch: later
    ones answer from that moment, and with what the signal itself has saved since.

    Args:
        sample_id: the sample; `1`, `"1"` and `tensor(1)` are one id.
        signal_name: one signal only; `"loss"` and `"signals//loss"` are one. None: all.
        exp_hash: one experiment only. None, or "all": every one.

    Raises:
        InputError: an argument that cannot be meant.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5]}, ["cat.png"], step=3)
        >>> [row[:3] for row in wl.query_sample_history("cat.png")]
        [('loss', 3, 0.5)]
    """
    guard_worker("query_sample_history")
    one = _one_id(sample_id)
    signals = signal_names(signal_name, "signal_name")
    hashes = hash_filter(exp_hash, None, "exp_hash", "every one")

    session = current()
    found = _trajectories(session, one, signals)
    rows: dict[str, list[SignalRow]] = {}
    for signal, steps, values, experiment in found:
        if (signals is None or signal in signals) and (hashes is None or experiment in hashes):
            rows.setdefault(signal, []).extend(
                (signal, step, value, experiment)
                for step, value in zip(steps.tolist(), values.tolist(), strict=True)
            )
    # Only what gave nothing can be unknown: looking that up costs more than the answer.
    say_unknown_signals(session, [s for s in signals or () if s not in rows], "sample")
    if hashes is not None:
        met = {experiment for *_, experiment in found}
        say_unknown_hashes(session, [h for h in hashes if h not in met])
    return list(chain.from_iterable(rows.values()))


def _trajectories(session: Session, sample_id: str, signals: list[str] | None) -> list[Trajectory]:
    """Everything of one sample; inside a signal, from the one read for its batch."""
    only = signals[0] if signals is not None and len(signals) == 1 else None
    home = session.home
    firing = Firing.current(session.ledger)
    if firing is not None:
        read = firing.history(sample_id, only, home)
        if read is not None:
            return read
    return trajectories(session.settled(), [sample_id], only, home)[0]


def query_instance_history(
    sample_id: object,
    annotation_id: int,
    signal_name: str | None = None,
    exp_hash: str | None = None,
) -> list[SignalRow]:
    """Every value of one instance: (signal_name, step, value, experiment_hash).

    By signal, then in order of arrival; every launch.

    Args:
        sample_id: the sample that the instance is in.
        annotation_id: the instance, from 1; 0 is the sample's own row, and gives what
            `query_sample_history` gives.
        signal_name: one signal only; None: all.
        exp_hash: one experiment only. None, or "all": every one.

    Raises:
        InputError: an argument that cannot be meant, such as a negative annotation.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_instance_signals({"iou": [0.25, 0.75]}, ["cat.png"], [0, 0], step=3)
        >>> [row[:3] for row in wl.query_instance_history("cat.png", annotation_id=2)]
        [('iou', 3, 0.75)]
    """
    guard_worker("query_instance_history")
    numbers = annotation_numbers(annotation_id, "annotation_id")
    if numbers is None or len(numbers) != 1:
        raise InputError(f"annotation_id must be one whole number; got {annotation_id!r}")
    if numbers == [0]:
        return query_sample_history(sample_id, signal_name, exp_hash)
    frame = history(
        signal_name,
        kind="instance",
        sample_id=_one_id(sample_id),
        annotation_id=numbers,
        exp_hash=exp_hash,
    )
    return frame.select("signal", "step", "value", "experiment_hash").rows()


def history(
    signal_name: object = None,
    *,
    kind: str = "sample",
    sample_id: object = None,
    annotation_id: object = None,
    exp_hash: str | None = None,
    launch: int | None = None,
) -> pl.DataFrame:
    """One layer of history as a Polars frame, for as many rows as there are.

    The frame exports the Arrow PyCapsule interface, so that DuckDB, pyarrow and pandas
    (`to_pandas`) take it as it is.

    Args:
        signal_name: one name or several; `"loss"` and `"signals//loss"` are one.
        kind: "sample", "instance", or "global" for the curves.
        sample_id: one id or several; without effect on curves.
        annotation_id: one number or several; for instances only.
        exp_hash: one experiment. None, or "all": every one.
        launch: one launch, from 1. None: every one.

    A signal or hash that does not exist gives no rows, and a warning that names the nearest.

    Returns:
        Columns signal, experiment_hash, launch, step, value; for samples and instances
        also sample_id, for instances annotation_id, for curves min, max, count. Rows by
        signal, then sample and annotation, then in order of arrival; curves by step.

    Raises:
        UnknownOptionError: a kind that does not exist.
        InputError: another argument that cannot be meant.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5, 0.25]}, ["cat.png", "dog.png"], step=3)
        >>> wl.history("loss")["value"].to_list()
        [0.5, 0.25]
    """
    guard_worker("history")
    kinds = kinds_of(kind, "kind")
    if len(kinds) != 1:
        raise InputError(f"kind must be 'global', 'sample' or 'instance'; got {kind!r}")
    signals = signal_names(signal_name, "signal_name")
    annotations = annotation_numbers(annotation_id, "annotation_id")
    hashes = hash_filter(exp_hash, None, "exp_hash", "every one")
    launch = check_launch(launch)
    ids = None if sample_id is None else id_texts(sample_id)

    from weightslab.queries.history import history_frame

    session = current()
    layer = kinds[0]
    say_unknown_signals(session, signals, layer)
    say_unknown_hashes(session, hashes)
    return history_frame(
        session.settled(),
        kind=layer,
        signals=signals,
        sample_ids=None if layer == "global" else ids,
        annotation_ids=annotations if layer == "instance" else None,
        hashes=hashes,
        launch=launch,
        home=session.home,
    )


def scan_history(
    signal_name: object = None,
    *,
    kind: str = "sample",
    exp_hash: str | None = None,
    launch: int | None = None,
) -> pl.LazyFrame:
    """Values of samples or instances as a lazy Polars frame, for more rows than memory holds.

    Nothing is read before the frame is collected; then only the columns that are asked for
    are made, piece by piece, and filters are applied to each piece. It shows what is saved
    when it is collected.

    Args:
        signal_name: one name or several; None: all.
        kind: "sample" or "instance".
        exp_hash: one experiment. None, or "all": every one.
        launch: one launch, from 1. None: every one.

    Returns:
        The columns of `history`, the rows in no particular order.

    Raises:
        UnknownOptionError: a kind that does not exist.
        InputError: another argument that cannot be meant.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5, 0.25]}, ["cat.png", "dog.png"], step=3)
        >>> wl.scan_history("loss").select("value").sum().collect().item()
        0.75
    """
    guard_worker("scan_history")
    kinds = kinds_of(kind, "kind")
    if len(kinds) != 1 or kinds[0] == "global":
        raise InputError(f"kind must be 'sample' or 'instance'; got {kind!r}")
    signals = signal_names(signal_name, "signal_name")
    hashes = hash_filter(exp_hash, None, "exp_hash", "every one")
    launch = check_launch(launch)

    from weightslab.queries.lazy import history_scan

    session = current()
    say_unknown_signals(session, signals, kinds[0])
    say_unknown_hashes(session, hashes)
    ledger = session.settled()
    # Polars reads on threads of its own: a signal that collects would wait there for itself.
    before = session.settled if Firing.current(ledger) is None else lambda: ledger
    return history_scan(ledger, kinds[0], signals, hashes, launch, before=before)


def samples(
    *, origin: str | None = None, tag: str | None = None, columns: object = None
) -> pl.DataFrame:
    """The sample table as a Polars frame: what is true of every sample now.

    Args:
        origin: one loader or split; None: every one.
        tag: samples that have this tag (of a categorical tag, any value).
        columns: as for `write_dataframe`: "tags", "signals", "discarded", a column,
            or a list of these. None, or "all": every column.

    Returns:
        A row per sample (annotation_id 0) and per instance (from 1), with sample_id,
        annotation_id, origin, discarded, `tag:<name>` and `signals//<name>` columns:
        the latest value, null where there never was one.

    Raises:
        UnknownOptionError: a column that does not exist.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> wl.save_signals({"loss": [0.5]}, ["cat.png"], step=3)
        >>> wl.samples(columns="signals").rows()
        [('cat.png', 0, 0.5)]
    """
    guard_worker("samples")
    chosen = names(columns, "columns")
    check_origin(origin)
    if tag is not None:
        check_name(tag, "tag")

    from weightslab.export.dataframe import chosen_columns
    from weightslab.queries.samples import samples_frame

    session = current()
    choice = partial(chosen_columns, chosen=chosen)
    frame = samples_frame(session.settled(), origin=origin, tag=tag, columns=choice)
    if not frame.height:
        say_unknown_tag(session, tag)
        say_unknown_origin(session, origin)
    return frame


def _one_id(sample_id: object) -> str:
    ids = [] if sample_id is None else id_texts(sample_id)
    if len(ids) != 1:
        raise InputError(f"sample_id must be one id; got {sample_id!r}")
    return ids[0]
