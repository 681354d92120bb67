"""A loader goes on whatever becomes of its session, and says what is not recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.capture.oracles import Numbers, watch
from tests.capture.recorded import said, values
from weightslab.session import current

pytestmark = pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")


def test_a_loader_outlives_its_session() -> None:
    """A session that is reset in mid-epoch, with changes to take in, ends no iteration."""
    loader = watch(DataLoader(Numbers(12), batch_size=4))
    session = current()
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    seen = 0
    for step, (x, _, _) in enumerate(loader):
        seen += len(x)
        if step == 0:
            wl.reset()
            session.registry.version += 1
    assert seen == 12
    assert sum(len(x) for x, _, _ in loader) == 12


def test_an_error_of_ours_leaves_no_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at the safe point is said once, and every batch comes."""
    loader = watch(DataLoader(Numbers(12), batch_size=4))
    session = current()

    def fails() -> None:
        raise OSError("no disk")

    monkeypatch.setattr(session, "safe_point", fails)
    assert sum(len(x) for x, _, _ in loader) == 12
    assert sum("no disk" in one for one in said()) == 1


def test_a_loss_that_is_only_called_in_a_compiled_function_is_said() -> None:
    """After 50 batches without a value, the silent signals and the way out are said, once."""
    loader = watch(DataLoader(Numbers(120), batch_size=2))
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", signal_name="quiet")
    wl.watch_or_edit(nn.L1Loss(), flag="loss", signal_name="val/loss")

    @torch.compile(backend="eager")
    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = loss(x[:, 0], y)
        return found

    for x, y, _ in loader:
        step(x, y)
    assert values("quiet") == []
    about = [one for one in said() if "torch.compile" in one]
    assert len(about) == 1
    assert "'quiet'" in about[0]
    assert "val/loss" not in about[0]


def test_a_loss_that_is_heard_is_no_silent_one() -> None:
    """Where one signal was recorded, nothing is said of silence."""
    loader = watch(DataLoader(Numbers(120), batch_size=2))
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", signal_name="heard")
    wl.watch_or_edit(nn.L1Loss(), flag="loss", signal_name="other")
    for x, y, _ in loader:
        loss(x[:, 0], y)
    assert said() == []
