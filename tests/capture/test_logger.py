"""Watched loggers: the curve gets what they get."""

from __future__ import annotations

import copy
import pickle
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

import weightslab as wl
from tests.capture.recorded import curve
from weightslab.session import current


class Tracker:
    """Like the trackers of this world: `log` with a dict."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> str:
        self.seen.append((metrics, step))
        return "logged"


class Layered(Tracker):
    """A logger whose `log_metrics` calls its own `log`."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.log(metrics, step)


class Slotted:
    """A logger that has no room for anything."""

    __slots__ = ()

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Throw them away."""


@pytest.mark.parametrize("cls", [CSVLogger, TensorBoardLogger])
def test_lightning_loggers(cls: Any, tmp_path: Path) -> None:
    """A Lightning logger is the same object of its class, and its metrics join the curve."""
    plain = cls(tmp_path)
    logger = wl.watch_or_edit(plain, flag="logger")
    logger.log_metrics({"loss": torch.tensor(0.5), "acc": 1}, step=3)
    logger.save()
    assert logger is plain
    assert isinstance(logger, cls)
    assert curve("loss") == [(3, 0.5)]
    assert curve("acc") == [(3, 1.0)]


def test_summary_writer(tmp_path: Path) -> None:
    """A SummaryWriter writes its file as ever, and its scalars join the curve."""
    with wl.watch_or_edit(SummaryWriter(tmp_path), flag="logger") as writer:
        writer.add_scalar("loss", 0.25, 7)
        writer.add_scalars("both", {"a": 1.0, "b": 2.0}, global_step=8)
        writer.add_histogram("weights", torch.ones(3))
    assert isinstance(writer, SummaryWriter)
    assert curve("loss") == [(7, 0.25)]
    assert curve("both/b") == [(8, 2.0)]
    assert any(path.stat().st_size for path in tmp_path.glob("events.*"))


def test_a_tracker_gets_and_gives_what_it_did() -> None:
    """The original method gets the same arguments and its answer comes back."""
    logger = wl.watch_or_edit(Tracker(), flag="logger")
    metrics = {"loss": 1.5, "picture": object(), "note": "text"}
    assert logger.log(metrics, step=2) == "logged"
    assert logger.seen == [(metrics, 2)]
    assert logger.seen[0][0] is metrics
    assert curve("loss") == [(2, 1.5)]


def test_a_method_that_calls_another_counts_once() -> None:
    """Metrics that pass through two methods of one logger are recorded once."""
    logger = wl.watch_or_edit(Layered(), flag="logger")
    logger.log_metrics({"loss": 1.0}, step=1)
    assert curve("loss") == [(1, 1.0)]
    assert len(logger.seen) == 1


def test_without_a_step_the_clock_counts() -> None:
    """A value without a step stands at the session's own."""
    logger = wl.watch_or_edit(Tracker(), flag="logger")
    logger.log({"loss": 1.0})
    logger.log({"loss": 2.0})
    assert curve("loss") == [(0, 1.0), (1, 2.0)]


def test_two_loggers_are_apart() -> None:
    """Only the watched one of two loggers of a class is read along."""
    watched, other = wl.watch_or_edit(Tracker(), flag="logger"), Tracker()
    other.log({"loss": 1.0})
    assert type(other) is Tracker
    assert curve("loss") == []
    watched.log({"loss": 2.0})
    assert len(curve("loss")) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_of_the_original_class(protocol: int) -> None:
    """A pickled logger is of its own class again, and has nothing of ours."""
    logger = wl.watch_or_edit(Tracker(), flag="logger")
    data = pickle.dumps(logger, protocol)
    assert b"weightslab" not in data
    assert type(pickle.loads(data)) is Tracker


def test_a_deep_copy_is_not_read_along() -> None:
    """A copy is of the original class and reaches no curve."""
    logger = wl.watch_or_edit(Tracker(), flag="logger")
    twin = copy.deepcopy(logger)
    twin.log({"loss": 1.0})
    assert type(twin) is Tracker
    assert curve("loss") == []


def test_a_lightning_logger_pickles(tmp_path: Path) -> None:
    """A Lightning logger, which makes its own state for a pickle, keeps doing so."""
    logger = wl.watch_or_edit(CSVLogger(tmp_path), flag="logger")
    assert type(pickle.loads(pickle.dumps(logger))) is CSVLogger


def test_watching_twice_records_once() -> None:
    """A logger that is watched again is read along once."""
    logger = wl.watch_or_edit(wl.watch_or_edit(Tracker(), flag="logger"), flag="logger")
    logger.log({"loss": 1.0})
    assert len(curve("loss")) == 1


def test_an_error_of_the_logger_is_the_users() -> None:
    """What the logger itself raises reaches the caller, and nothing is recorded."""

    class Broken(Tracker):
        def log(self, metrics: Mapping[str, Any], step: int | None = None) -> str:
            raise KeyError("mine")

    logger = wl.watch_or_edit(Broken(), flag="logger")
    with pytest.raises(KeyError, match="mine"):
        logger.log({"loss": 1.0})
    assert curve("loss") == []


def test_an_error_of_ours_is_not() -> None:
    """What we cannot read is said once, and the logger got it."""
    logger = wl.watch_or_edit(Tracker(), flag="logger")
    with pytest.warns(wl.WeightsLabWarning, match="was not recorded"):
        logger.log({"loss": 1.0}, step="seven")
    assert len(logger.seen) == 1


def test_none_gives_a_logger_of_ours() -> None:
    """Without a logger there is a small one: add_scalar, log_metrics, log and log_dir."""
    logger = wl.watch_or_edit(None, flag="logger", log_dir="runs/here")
    logger.add_scalar("a", torch.tensor(1.0), 4)
    logger.log_metrics({"b": 2.0}, step=5)
    logger.log({"c": 3.0})
    assert (curve("a"), curve("b"), curve("c")) == ([(4, 1.0)], [(5, 2.0)], [(0, 3.0)])
    assert logger.log_dir == "runs/here"
    assert current().ledger.root == Path("runs/here").resolve()


@pytest.mark.parametrize("obj", [object(), Tracker, 3, "runs"])
def test_no_logger(obj: Any) -> None:
    """What has none of the methods is refused, and the error names them."""
    with pytest.raises(ValueError, match="a logger has add_scalar, log_metrics or log"):
        wl.watch_or_edit(obj, flag="logger")


def test_a_logger_that_cannot_be_watched() -> None:
    """A logger whose class cannot be extended is refused, with what to do instead."""

    class Final(Tracker):
        def __init_subclass__(cls) -> None:
            raise TypeError("final")

    with pytest.raises(ValueError, match=r"wl\.watch_or_edit\(None, flag='logger'\)"):
        wl.watch_or_edit(Final(), flag="logger")


def test_a_logger_without_weak_references_is_read_along() -> None:
    """A logger made of attributes, such as a SimpleNamespace, is read along; copies are not."""
    got: list[Any] = []
    logger = types.SimpleNamespace(log=lambda metrics, step=None: got.append((metrics, step)))
    assert wl.watch_or_edit(logger, flag="logger") is logger
    logger.log({"a": 1.0}, step=3)
    copy.deepcopy(logger).log({"a": 2.0}, step=4)
    assert curve("a") == [(3, 1.0)]
    assert got == [({"a": 1.0}, 3), ({"a": 2.0}, 4)]


def test_a_logger_with_slots_is_read_along() -> None:
    """A logger whose class has `__slots__` and no room for a weak reference is read along."""
    logger = wl.watch_or_edit(Slotted(), flag="logger")
    logger.log({"a": 1.0})
    assert curve("a") == [(0, 1.0)]
