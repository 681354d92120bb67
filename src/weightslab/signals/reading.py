"""What the ledger holds of a signal in this launch, the markers of evaluations left out.

Shapes: B values in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from weightslab.checkpoints.identity import plain_hash
from weightslab.ledger import Ledger
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.layout import Kind
from weightslab.signals.past import SignalHistory, aligned
from weightslab.types import Rows

__all__ = ["earlier_values", "key_of", "pieces", "scalars"]

Keys = npt.NDArray[np.int64]


def key_of(rows: npt.NDArray[np.int32], annotations: npt.NDArray[np.int32] | None) -> Keys:
    """[B] one number for each sample, or for each instance."""
    keys = rows.astype(np.int64)
    if annotations is not None:
        keys = (keys << 32) | annotations
    return keys


def pieces(
    ledger: Ledger, kind: Kind, signal: str, rows: npt.NDArray[np.int64] | None = None
) -> Iterator[tuple[str | None, Chunk]]:
    """Values by experiment hash, in pieces that memory holds."""
    for experiment, piece in ledger.launched(kind, signal, rows):
        if len(piece) and (experiment is None or plain_hash(experiment) == experiment):
            yield experiment, piece


def scalars(ledger: Ledger, signal: str) -> tuple[list[int], list[float]]:
    """Steps and values of a curve of plain numbers; of several at one step, the newest."""
    points: list[tuple[int, float]] = []
    for _, piece in pieces(ledger, "global", signal):
        plain = piece.take(piece.columns["count"] == 0).columns
        points += zip(plain["step"].tolist(), plain["value"].tolist(), strict=True)
    points.sort(key=lambda point: point[0])
    return [step for step, _ in points], [value for _, value in points]


def earlier_values(
    ledger: Ledger,
    kind: Kind,
    signal: str,
    rows: Rows,
    annotations: Rows | None,
    earlier: Keys,
) -> SignalHistory:
    """The first `earlier` [B] values of each sample or instance, in order of arrival."""
    wanted = np.unique(rows).astype(np.int64)
    found = [piece.columns for _, piece in pieces(ledger, kind, signal, wanted)]
    if not found:
        return aligned(np.zeros(0), np.zeros(0), np.zeros_like(earlier), np.zeros_like(earlier))
    names = ("sample", "step", "value") + (() if annotations is None else ("annotation_id",))
    flat = {name: np.concatenate([columns[name] for columns in found]) for name in names}
    keys = key_of(flat["sample"], flat.get("annotation_id"))
    if len(found) > 1 or annotations is not None:
        # Of several hashes the files do not say which came first: the step does.
        order = np.lexsort((flat["step"], keys)) if len(found) > 1 else keys.argsort(kind="stable")
        flat = {name: column[order] for name, column in flat.items()}
        keys = keys[order]
    own = key_of(rows, annotations)
    starts = np.searchsorted(keys, own)
    counts = np.minimum(np.searchsorted(keys, own, "right") - starts, earlier)
    return aligned(flat["step"], flat["value"], starts, counts)
