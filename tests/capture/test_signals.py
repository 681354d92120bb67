"""Watched losses, metrics and functions: names, ids, keywords, and what never changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightslab as wl
from tests.capture.recorded import array_of, curve, hand_out, instances, said, samples, values
from weightslab.session import current

X = torch.arange(12.0).reshape(4, 3).requires_grad_()
Y = torch.tensor([0, 2, 1, 0])
IDS = ["a", "b", "c", "d"]


class Distance(nn.Module):
    """A metric of the user: one value for each sample."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs()


class Declares(nn.Module):
    """A module that has one of our keywords as its own parameter."""

    seen: Any = None

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        type(self).seen = targets
        return x.sum(1)


def ratio(x: Tensor, y: Tensor) -> Tensor:
    """A function of the user."""
    return (x / (y + 1)).sum(1)


# -- what comes back ---------------------------------------------------------


def test_the_result_is_the_object_itself() -> None:
    """What a watched function returns is the object that the function made."""
    made = torch.ones(4)
    watched = wl.watch_or_edit(lambda: made, flag="metric", name="m")
    hand_out(IDS)
    assert watched() is made
    assert values("m") == [1.0] * 4


def test_a_module_is_shared_and_the_original_is_unwatched() -> None:
    """A watched module shares parameters, keeps its class, and leaves the original alone."""
    plain = nn.CrossEntropyLoss(weight=torch.rand(3))
    watched = wl.watch_or_edit(plain, signal_name="l")
    hand_out(IDS)
    plain(X, Y)
    assert samples("l") == []
    assert type(watched) is nn.CrossEntropyLoss
    assert watched.weight is plain.weight
    assert not plain._forward_hooks and not plain._forward_pre_hooks


def test_one_module_under_two_names() -> None:
    """One module watched twice records each call under the name that it was called by."""
    plain = nn.CrossEntropyLoss()
    train = wl.watch_or_edit(plain, signal_name="train")
    val = wl.watch_or_edit(train, signal_name="val")
    hand_out(IDS)
    train(X, Y)
    train(X, Y)
    val(X, Y)
    assert (len(samples("train")), len(samples("val"))) == (8, 4)


def test_one_function_under_two_names() -> None:
    """A function that is watched again is recorded under the new name only."""
    first = wl.watch_or_edit(ratio, flag="metric", name="one")
    second = wl.watch_or_edit(first, flag="metric", name="two")
    hand_out(IDS)
    second(X, X)
    assert (len(samples("one")), len(samples("two"))) == (0, 4)


def test_hooks_of_the_user_stay() -> None:
    """Hooks that the user put on a module still run, on it and on the watched copy."""
    calls = []
    plain = nn.MSELoss()
    plain.register_forward_hook(lambda *_: calls.append(1))
    wl.watch_or_edit(plain, signal_name="l")(torch.ones(2), torch.zeros(2), batch_ids=[1, 2])
    plain(torch.ones(2), torch.zeros(2))
    assert calls == [1, 1]


def test_settings_changed_later_count() -> None:
    """A setting changed on the watched loss is the one that the next value is made with."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="l")
    loss.reduction = "sum"
    loss.label_smoothing = 0.1
    got = loss(X, Y, batch_ids=IDS)
    assert sum(values("l")) == pytest.approx(got.item())


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("kind", ["module", "function"])
def test_copies_still_take_our_keywords_and_record_nothing(kind: str, copied: str) -> None:
    """A copy of a watched loss is called as before, and is nobody's signal."""
    obj = nn.CrossEntropyLoss() if kind == "module" else ratio
    watched = wl.watch_or_edit(obj, flag="loss", signal_name="l")
    if copied == "deepcopy":
        twin = copy.deepcopy(watched)
    elif copied == "pickle":
        twin = pickle.loads(pickle.dumps(watched))
    else:
        file = BytesIO()
        torch.save(watched, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    args = (X, Y) if kind == "module" else (X, X)
    assert torch.equal(twin(*args, batch_ids=IDS), obj(*args))
    assert samples("l") == []
    watched(*args, batch_ids=IDS)
    assert len(samples("l")) == 4


def test_a_watched_loss_inside_a_compiled_function() -> None:
    """A compiled caller traces a watched loss in one graph, keywords and all."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="l")

    @torch.compile(fullgraph=True, backend="eager")
    def step(x: Tensor, y: Tensor, ids: list[str]) -> Tensor:
        return loss(x * 2, y, batch_ids=ids)

    assert torch.equal(step(X, Y, IDS), F.cross_entropy(X * 2, Y))


def test_a_compiled_loss_is_recorded() -> None:
    """A loss that was compiled before it is watched is recorded like the plain one."""
    loss = wl.watch_or_edit(
        torch.compile(nn.CrossEntropyLoss(), backend="eager"), flag="loss", signal_name="l"
    )
    got = loss(X, Y, batch_ids=IDS)
    assert sum(values("l")) / 4 == pytest.approx(got.item())


# -- names -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"signal_name": "s", "name": "n", "obj_name": "o"}, "s"),
        ({"name": "n", "obj_name": "o"}, "n"),
        ({"obj_name": "o"}, "o"),
        ({}, "MSELoss"),
        ({"name": "signals//x"}, "x"),
    ],
)
def test_name_of_a_signal(options: dict[str, str], expected: str) -> None:
    """signal_name wins over name, over obj_name, over the class; the prefix is no part of it."""
    wl.watch_or_edit(nn.MSELoss(reduction="none"), **options)(
        torch.ones(2), torch.zeros(2), batch_ids=[1, 2]
    )
    assert values(expected) == [1.0, 1.0]


def test_a_function_gives_its_name() -> None:
    """A function without a given name is called what it is called."""
    wl.watch_or_edit(ratio, flag="signal")(X, X, batch_ids=IDS)
    assert len(samples("ratio")) == 4


# -- shapes ----------------------------------------------------------------


def test_more_dimensions_fold_by_the_mean() -> None:
    """A result [B, ...] is recorded as its mean over everything but B."""
    wl.watch_or_edit(Distance(), flag="metric", name="d")(X, X * 2, batch_ids=IDS)
    assert values("d") == pytest.approx(X.mean(1).tolist())


def test_a_dict_of_results_is_several_signals() -> None:
    """Each entry of a dict of results is recorded under <name>/<key>."""
    both = wl.watch_or_edit(
        lambda x: {"low": x.amin(1), "high": x.amax(1)}, flag="metric", name="range"
    )
    both(X, batch_ids=IDS)
    assert values("range/low") == X.amin(1).tolist()
    assert values("range/high") == X.amax(1).tolist()


def test_numpy_and_list_results() -> None:
    """Functions that return numpy arrays or lists are recorded as well."""
    wl.watch_or_edit(lambda: np.arange(4), flag="metric", name="n")(batch_ids=IDS)
    wl.watch_or_edit(lambda: [1, 2.5, 3, 4], flag="metric", name="l")(batch_ids=IDS)
    assert (values("n"), values("l")) == ([0.0, 1.0, 2.0, 3.0], [1.0, 2.5, 3.0, 4.0])


def test_an_unusable_result_is_said_and_left_alone() -> None:
    """A result that holds no numbers comes back as it is, and the notice says why."""
    watched = wl.watch_or_edit(lambda: "text", flag="metric", name="odd")
    with pytest.warns(wl.WeightsLabWarning, match="expected numbers"):
        assert watched() == "text"


def test_log_false_keeps_the_samples_only() -> None:
    """log=False puts nothing on the curve."""
    wl.watch_or_edit(Distance(), flag="metric", name="d", log=False)(X, X, batch_ids=IDS)
    assert len(samples("d")) == 4
    assert curve("d") == []


# -- ids ------------------------------------------------------------------


def test_ids_of_the_batch_in_hand() -> None:
    """Without batch_ids= the values belong to the batch that a watched loader handed out."""
    hand_out(IDS)
    wl.watch_or_edit(Distance(), flag="metric", name="d")(X, X)
    assert [row[0] for row in samples("d")] == IDS


def test_explicit_ids_win() -> None:
    """batch_ids= wins over the batch in hand, of any kind of id."""
    hand_out(IDS)
    metric = wl.watch_or_edit(Distance(), flag="metric", name="d")
    metric(X, X, batch_ids=torch.tensor([4, 5, 6, 7]))
    assert [row[0] for row in samples("d")] == ["4", "5", "6", "7"]


@pytest.mark.parametrize("ids", [["a"], ["a", "b"], ["a", "b", "c"], IDS + IDS])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_explicit_ids_of_another_length(reduction: str, ids: list[str]) -> None:
    """batch_ids= of another length is an error that names both, and nothing is written."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(reduction=reduction), signal_name="l")
    with pytest.raises(wl.WeightsLabError, match=rf"'l' has 4 values but batch_ids has {len(ids)}"):
        loss(X, Y, batch_ids=ids)
    assert samples("l") == [] and curve("l") == []
    assert len(current().ledger.ids) == 0


def test_ids_in_hand_of_another_length() -> None:
    """Values that do not match the batch in hand go to the curve, said once."""
    hand_out(["a", "b", "c"])
    metric = wl.watch_or_edit(Distance(), flag="metric", name="d")
    with pytest.warns(wl.WeightsLabWarning, match="has 4 values but the current batch has 3"):
        metric(X, X * 2)
    metric(X, X * 2)
    assert samples("d") == []
    assert [value for _, value in curve("d")] == pytest.approx([5.5, 5.5])


def test_no_ids_at_all() -> None:
    """Without ids only the mean is kept, and the notice says how to change that."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="l")
    with pytest.warns(wl.WeightsLabWarning, match=r"flag='data'"):
        got = loss(X, Y)
    assert [value for _, value in curve("l")] == pytest.approx([got.item()])


def test_an_empty_batch_writes_nothing() -> None:
    """A batch of nothing is no error and no row."""
    metric = wl.watch_or_edit(Distance(), flag="metric", name="d")
    metric(torch.ones(0, 3), torch.ones(0, 3), batch_ids=[])
    assert samples("d") == [] and curve("d") == [] and said() == []


def test_an_error_while_recording_does_not_reach_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails on our side is counted and said once, with its trace."""
    hand_out(IDS)
    metric = wl.watch_or_edit(Distance(), flag="metric", name="d")

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("disk on fire")

    monkeypatch.setattr(current().ledger, "append_samples", broken)
    with pytest.warns(wl.WeightsLabWarning, match="disk on fire"):
        assert torch.equal(metric(X, X), torch.zeros(4, 3))
    metric(X, X)
    assert 2 in current().notices.counts().values()


def test_after_a_reset_a_watched_loss_still_works() -> None:
    """A signal of a session that is over is called as before."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), signal_name="l")
    loss(X, Y, batch_ids=IDS)
    former = current()  # kept alive: the harder case
    wl.reset()
    with pytest.warns(wl.WeightsLabWarning, match="'l' was not recorded"):
        loss(X, Y, batch_ids=IDS)
    assert former is not current()


# -- keywords ---------------------------------------------------------------


def test_preds_and_targets_are_kept() -> None:
    """preds= and targets= on the call keep the latest of each sample, as they came."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="l")
    loss(X, Y, batch_ids=IDS, preds=X.argmax(1), targets=torch.tensor([-100, 2, 1, 0]))
    assert array_of("targets", "a") == -100
    assert array_of("preds", "a") == 2


def test_preds_of_another_length() -> None:
    """preds= of another length is an error, and nothing of the call is written."""
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="l")
    with pytest.raises(ValueError, match="preds= has 3 entries but there are 4 ids"):
        loss(X, Y, batch_ids=IDS, preds=[1, 2, 3])
    assert samples("l") == []


def test_a_keyword_that_forward_declares_is_passed_on_and_used() -> None:
    """A function that has a keyword of ours gets it, and we use it too."""
    watched = wl.watch_or_edit(Declares(), flag="metric", name="d")
    watched(X, targets=Y, batch_ids=IDS)
    assert Declares.seen is Y
    assert array_of("targets", "b") == 2


def test_functions_do_not_see_our_keywords() -> None:
    """Keywords of ours are taken off the call of a plain function."""
    seen: dict[str, Any] = {}

    def metric(x: Tensor, **rest: Any) -> Tensor:
        seen.update(rest)
        return x.sum(1)

    watched = wl.watch_or_edit(metric, flag="metric")
    watched(X, batch_ids=IDS, preds=Y, other=1)
    assert seen == {"other": 1}


# -- instances --------------------------------------------------------------


class PerBox(nn.Module):
    """One value for each instance of a batch."""

    def forward(self, boxes: Tensor, batch: Mapping[str, Any] | None = None) -> Tensor:
        return boxes * 2


def test_instances_by_keyword() -> None:
    """per_instance=True with batch_idx= numbers the instances of each sample from 1."""
    metric = wl.watch_or_edit(PerBox(), flag="metric", name="iou", per_instance=True)
    metric(torch.tensor([1.0, 2.0, 3.0]), batch_ids=["a", "b"], batch_idx=torch.tensor([1, 0, 1]))
    assert sorted(instances("iou")) == [("a", 1, 4.0), ("b", 1, 2.0), ("b", 2, 6.0)]


def test_instances_by_the_dict_of_the_batch() -> None:
    """Without the keyword, batch_idx comes from a dict among the arguments."""
    hand_out(["a", "b"])
    metric = wl.watch_or_edit(PerBox(), flag="metric", name="iou", per_instance=True)
    metric(torch.tensor([1.0, 2.0]), {"batch_idx": torch.tensor([0.0, 1.0])})
    assert sorted(instances("iou")) == [("a", 1, 2.0), ("b", 1, 4.0)]


def test_a_reduced_loss_of_instances() -> None:
    """A torch loss over instances is recorded per instance, whatever its reduction."""
    loss = wl.watch_or_edit(nn.MSELoss(), signal_name="box", per_instance=True)
    boxes = torch.rand(3, 4)
    got = loss(boxes, torch.zeros(3, 4), batch_ids=["a", "b"], batch_idx=[0, 0, 1])
    assert sum(row[2] for row in instances("box")) / 3 == pytest.approx(got.item())


def test_instances_without_a_map() -> None:
    """per_instance=True without batch_idx keeps the mean and says what is missing."""
    hand_out(["a", "b"])
    metric = wl.watch_or_edit(PerBox(), flag="metric", name="iou", per_instance=True)
    with pytest.warns(wl.WeightsLabWarning, match="batch_idx="):
        metric(torch.ones(3))
    assert curve("iou") == [(0, 2.0)]


@pytest.mark.parametrize(
    ("batch_idx", "message"),
    [([0, 1], "has 3 values but batch_idx has 2"), ([0, 1, 2], "batch_idx holds 2")],
)
def test_a_wrong_batch_idx(batch_idx: list[int], message: str) -> None:
    """batch_idx= of another length, or outside the batch, is an error; nothing is written."""
    metric = wl.watch_or_edit(PerBox(), flag="metric", name="iou", per_instance=True)
    with pytest.raises(ValueError, match=message):
        metric(torch.ones(3), batch_ids=["a", "b"], batch_idx=batch_idx)
    assert instances("iou") == []
