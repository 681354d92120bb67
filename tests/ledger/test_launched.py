"""What one launch has of a signal, in files and not in files, and nothing of the one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weightslab.ledger import Ledger

ROWS = np.array([0, 2], np.int32)


def save(ledger: Ledger, step: int, value: float, experiment: str | None = None) -> None:
    values = np.array([value, value + 0.5])
    with ledger.under(experiment):
        ledger.append_samples({"loss": values, "other": values}, ROWS, step=step)
        ledger.append_instances({"iou": values}, ROWS, ROWS + 1, step=step)
        ledger.append_scalars({"lr": value}, step=step)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The second launch of a run: one value in a file, one under another hash, one in memory."""
    with_values = Ledger(tmp_path / "run")
    with_values.ids.add(["a", "b", "c"], "train")
    save(with_values, 0, 100.0)
    with_values.close()
    second = Ledger(tmp_path / "run")
    assert list(second.launched("sample", "loss")) == []
    save(second, 1, 1.0)
    second.flush()
    save(second, 2, 2.0, "f" * 24)
    save(second, 3, 3.0)
    return second


def found(ledger: Ledger, kind: str, signal: str, rows: list[int] | None = None) -> list[object]:
    wanted = None if rows is None else np.array(rows)
    return sorted(
        (step, value, experiment)
        for experiment, piece in ledger.launched(kind, signal, wanted)
        for step, value in zip(
            piece.columns["step"].tolist(), piece.columns["value"].tolist(), strict=True
        )
    )


@pytest.mark.parametrize(("kind", "signal"), [("sample", "loss"), ("instance", "iou")])
def test_every_value_of_this_launch(ledger: Ledger, kind: str, signal: str) -> None:
    """By experiment hash; in pieces, or of some samples alone."""
    other = "f" * 24
    assert found(ledger, kind, signal, [2]) == [(1, 1.5, None), (2, 2.5, other), (3, 3.5, None)]
    assert found(ledger, kind, signal) == [
        (1, 1.0, None), (1, 1.5, None), (2, 2.0, other), (2, 2.5, other), (3, 3.0, None),
        (3, 3.5, None),
    ]  # fmt: skip
    ledger.close()


def test_a_curve_of_this_launch(ledger: Ledger) -> None:
    """Plain numbers, too."""
    assert found(ledger, "global", "lr") == [(1, 1.0, None), (2, 2.0, "f" * 24), (3, 3.0, None)]
    ledger.close()
