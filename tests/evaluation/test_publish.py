from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weightslab.evaluation.buffer import Buffer, Rowed
from weightslab.evaluation.publish import next_marker, portions, publish
from weightslab.ledger import Ledger

PLAIN = "a" * 24


def filled(ledger: Ledger, n: int = 3) -> Buffer:
    buffer = Buffer()
    rows = ledger.ids.add([f"s{i}" for i in range(n)], "val")
    buffer.samples({"loss": np.arange(n, dtype=np.float32)}, rows, step=0, log=True)
    buffer.instances({"iou": np.ones(n)}, rows, rows + np.int32(1), step=0, log=True)
    buffer.scalars({"acc": 0.5}, step=0)
    return buffer


def test_everything_is_under_the_marker_and_the_hash_is_as_before(tmp_path: Path) -> None:
    """Samples, instances and one point for each curve, at the step of the evaluation."""
    ledger = Ledger(tmp_path)
    ledger.edit.set_experiment(PLAIN)
    publish(ledger, filled(ledger), f"{PLAIN}_1", 7)
    assert ledger.experiment_hash == PLAIN
    (view,) = ledger.views()
    found = {
        (key.kind, key.signal, key.experiment_hash): (
            chunk.columns["step"].tolist(),
            chunk.columns["value"].tolist(),
        )
        for kind in ("sample", "instance", "global")
        for key, chunk in view.store.history.read(kind)  # type: ignore[arg-type]
    }
    marker = f"{PLAIN}_1"
    assert found == {
        ("sample", "loss", marker): ([7, 7, 7], [0.0, 1.0, 2.0]),
        ("instance", "iou", marker): ([7, 7, 7], [1.0, 1.0, 1.0]),
        ("global", "loss", marker): ([7], [1.0]),
        ("global", "iou", marker): ([7], [1.0]),
        ("global", "acc", marker): ([7], [0.5]),
    }
    ledger.close()


def test_the_number_follows_what_the_folder_has(tmp_path: Path) -> None:
    """Also what another process wrote, and numbers beyond nine; other hashes do not count."""
    other, ledger = Ledger(tmp_path), Ledger(tmp_path)
    publish(other, filled(other), f"{PLAIN}_3", 0)
    other.close()
    assert next_marker(ledger, "c" * 24) == "c" * 24 + "_1"
    assert next_marker(ledger, PLAIN) == f"{PLAIN}_4"
    for number in (1, 2, 10):
        publish(ledger, filled(ledger), f"{PLAIN}_{number}", 0)
    publish(ledger, filled(ledger), "b" * 24 + "_99", 0)
    assert next_marker(ledger, PLAIN) == f"{PLAIN}_11"
    ledger.close()


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8), st.integers(1, 20))
def test_portions_lose_and_reorder_nothing(pieces: list[tuple[int, bool]], most: int) -> None:
    """However large the pieces are: no portion is larger than allowed, and all is there."""
    found = [
        Rowed(
            f"signal {at}",
            np.arange(n, dtype=np.float64),
            np.arange(n, dtype=np.int32),
            np.arange(1, n + 1, dtype=np.int32) if instances else None,
        )
        for at, (n, instances) in enumerate(pieces)
    ]
    groups = list(portions(found, most))
    assert all(0 < sum(len(piece.values) for piece in group) <= most for group in groups)
    for piece in found:
        cut = [part for group in groups for part in group if part.signal == piece.signal]
        assert [v for part in cut for v in part.values.tolist()] == piece.values.tolist()
        assert [v for part in cut for v in part.rows.tolist()] == piece.rows.tolist()
        if piece.annotations is not None and cut:
            numbers = [part.annotations for part in cut if part.annotations is not None]
            assert np.concatenate(numbers).tolist() == piece.annotations.tolist()
