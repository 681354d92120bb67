from __future__ import annotations

import copy
import io
import threading

import pytest
import torch
from torch import nn

from weightslab.evaluation.modes import held_modes


def test_another_thread_waits_before_it_switches() -> None:
    """`train()` and `eval()` take effect after the evaluation; its own thread switches at once."""
    model, go_on = nn.Linear(1, 1), threading.Event()
    asked = threading.Event()

    def wait() -> None:
        asked.set()
        assert go_on.wait(30)

    with held_modes([model], wait):
        thread = threading.Thread(target=model.eval, daemon=True)
        thread.start()
        assert asked.wait(30) and model.training
        assert not model.eval().training
        model.train()
    assert model.training
    go_on.set()
    thread.join(30)
    assert not model.training


def test_nothing_of_it_stays_on_the_model() -> None:
    """Also after an error; a `train` that the user put there is there again."""
    model, own = nn.Linear(1, 1), nn.Linear(1, 1)
    own.__dict__["train"] = lambda mode=True: own
    kept = own.__dict__["train"]
    with pytest.raises(ZeroDivisionError), held_modes([model, own, model], lambda: None):
        raise ZeroDivisionError
    assert "train" not in model.__dict__ and own.__dict__["train"] is kept


def test_a_copy_made_meanwhile_is_plain() -> None:
    """A copy and a pickle of the model wait for nobody."""
    model = nn.Linear(1, 1)
    stream = io.BytesIO()
    with held_modes([model], lambda: pytest.fail("a copy waits for nobody")):
        copied = copy.deepcopy(model)
        torch.save(model, stream)
    stream.seek(0)
    for other in (copied, torch.load(stream, weights_only=False)):
        thread = threading.Thread(target=other.eval)
        thread.start()
        thread.join(30)
        assert not other.training and model.training


def test_what_has_no_modes_is_passed_over() -> None:
    """A model may be anything."""
    with held_modes([3, None, object(), nn.Linear(1, 1)], lambda: None):
        pass
