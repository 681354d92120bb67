from __future__ import annotations

import threading
from typing import Any

import numpy as np

import weightslab as wl
from weightslab.session import current


class Sink:
    def __init__(self) -> None:
        self.taken: list[tuple[str, Any]] = []

    def samples(self, signals: Any, rows: Any, *, step: int, log: bool) -> None:
        self.taken.append(("samples", {k: v.tolist() for k, v in signals.items()}))

    def instances(self, signals: Any, rows: Any, annotations: Any, *, step: int, log: bool) -> None:
        self.taken.append(("instances", {k: v.tolist() for k, v in signals.items()}))

    def scalars(self, scalars: Any, *, step: int) -> None:
        self.taken.append(("scalars", dict(scalars)))


class Listener:
    def __init__(self) -> None:
        self.names: list[str] = []

    def heard(self, signals: Any, rows: Any, annotations: Any, step: int) -> None:
        self.names += signals


def save_all() -> None:
    wl.save_signals({"loss": [0.5], "curve": np.float32(0.25)}, ["a"], step=1)
    wl.save_instance_signals({"iou": [0.75]}, ["a"], [0], step=1)


def test_a_diverted_thread_leaves_the_ledger_alone() -> None:
    """What an evaluation records is not on the training's curves, nor in its history."""
    sink = Sink()
    with current().recording.diverted(sink):
        assert current().recording.is_diverted
        save_all()
    assert sink.taken == [
        ("samples", {"loss": [0.5]}),
        ("scalars", {"curve": 0.25}),
        ("instances", {"iou": [0.75]}),
    ]
    assert not current().recording.is_diverted
    assert wl.history().is_empty() and wl.history(kind="global").is_empty()


def test_only_the_thread_that_asked_is_diverted() -> None:
    """Another thread's values go to the ledger as ever."""
    with current().recording.diverted(Sink()):
        thread = threading.Thread(target=save_all)
        thread.start()
        thread.join()
    assert wl.history("loss")["value"].to_list() == [0.5]


def test_a_listener_hears_what_went_to_the_ledger_and_nothing_else() -> None:
    """Values of an evaluation fire no signals."""
    listener = Listener()
    current().recording.listener = listener
    save_all()
    with current().recording.diverted(Sink()):
        save_all()
    assert listener.names == ["loss", "curve", "iou"]
