"""Nothing of ours ends a training run: what a safe point meets is said once, and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab import session as sessions
from weightslab.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no text of me")

    __str__ = __repr__


class MuteLayer(nn.Linear):
    def extra_repr(self) -> str:
        raise RuntimeError("no text of me")


def trained(model: nn.Module, *, on_batch: Callable[[int], None] = lambda _: None) -> int:
    """How many batches a watched loop over a watched loader has."""
    data = TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    loader = wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data")
    optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=0.1), flag="optimizer")
    batches = 0
    for inputs, labels, _ in loader:
        on_batch(batches)
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        batches += 1
    return batches


def test_a_lazy_model_trains_and_keeps_one_hash() -> None:
    """A model whose shapes are not known yet is trained, and learning them is no new experiment."""
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    model = wl.watch_or_edit(nn.Sequential(nn.LazyLinear(3)), flag="model")
    hashes: list[str | None] = []
    assert trained(model, on_batch=lambda _: hashes.append(wl.get_current_experiment_hash())) == 4
    wl.discard_samples(["train/0"])
    wl.discard_samples(["train/0"], discarded=False)
    sessions.current().safe_point()
    assert {*hashes, wl.get_current_experiment_hash()} == {hashes[0]}
    assert sessions.current().notices.counts() == {}


@pytest.mark.parametrize("value", [Mute(), {"deep": [Mute()]}, {1: "a", "b": 2}])
def test_hyperparameters_that_have_no_text_do_not_end_training(value: Any) -> None:
    """An object whose repr raises, or keys of several types, still give a hash."""
    wl.watch_or_edit({"lr": 0.1, "odd": value}, flag="hp")
    model = wl.watch_or_edit(MuteLayer(4, 3), flag="model")
    assert trained(model) == 4
    assert wl.get_current_experiment_hash() is not None


def test_models_are_named_by_anything() -> None:
    """A model called 1 beside one called "b" is no reason to stop."""
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    wl.watch_or_edit(nn.Linear(2, 2), flag="model", obj_name="b")
    session = sessions.current()
    session.registry.register("models", 1, nn.Linear(2, 2))  # type: ignore[arg-type]
    session.safe_point()
    assert session.notices.counts() == {}
    assert wl.get_current_experiment_hash() is not None


def test_a_session_that_is_closed_while_its_loop_runs_lets_it_run() -> None:
    """After close() the loop goes on, whatever is registered meanwhile; it is said once."""
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    model = wl.watch_or_edit(nn.Linear(4, 3), flag="model")
    session = sessions.current()

    def meddle(batch: int) -> None:
        if batch == 1:
            session.close()
            session.registry.register("models", "other", nn.Linear(1, 1))

    assert trained(model, on_batch=meddle) == 4
    assert any("training goes on" in message for message in session.notices.messages())


@pytest.mark.parametrize("name", ["experiment_name", "root_log_dir"])
@pytest.mark.parametrize("value", ["${nope}", "${oc.env:NO_SUCH_VARIABLE}"])
def test_a_name_that_cannot_be_read_is_refused_at_once(name: str, value: str) -> None:
    """An interpolation that leads nowhere is refused where it is given, and names the key."""
    with pytest.raises(InputError, match=f"^{name} of the hyperparameters cannot be read"):
        wl.watch_or_edit(OmegaConf.create({name: value}), flag="hp")
    assert sessions.current().registry.hyperparameters is None


def test_a_folder_that_cannot_be_used_does_not_end_training(tmp_path: Path) -> None:
    """A run folder that turns out to be a file is said at the safe point, once, and counted."""
    (tmp_path / "taken").write_text("mine")
    session = wl.Session(tmp_path / "taken")
    session.safe_point()
    session.safe_point()
    assert len(session.notices.messages()) == 1
    assert "is a file" in session.notices.messages()[0]
    assert list(session.notices.counts().values()) == [2]


def test_a_hash_that_cannot_be_made_does_not_cost_the_values() -> None:
    """A model that cannot be looked at costs the hash only: values are saved, and it is said."""

    class Odd(nn.Linear):
        def named_modules(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("look away")

    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    wl.watch_or_edit(Odd(4, 3), flag="model")
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert len(wl.history("loss")) == 1
    assert any("look away" in message for message in sessions.current().notices.messages())
