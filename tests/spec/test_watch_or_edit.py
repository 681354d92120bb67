"""The seed's section "watch_or_edit", sentence by sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

import weightslab as wl
from tests.spec.support import Items, Numbers, curve, triples
from weightslab.errors import InputError, UnknownOptionError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class MyLogger:
    """What a user's own logger looks like."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], int | None]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.seen.append((metrics, step))


def test_signature() -> None:
    """Quoted: "wl.watch_or_edit(obj, obj_name=None, flag=None, **kwargs)"."""
    import inspect

    parameters = inspect.signature(wl.watch_or_edit).parameters
    assert list(parameters) == ["obj", "obj_name", "flag", "kwargs"]
    assert parameters["obj_name"].default is None
    assert parameters["flag"].default is None
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


def test_typical_usage() -> None:
    """The seed's "Typical usage", verbatim but for the device, and one step of training."""
    my_model = nn.Linear(4, 3)

    hp = wl.watch_or_edit(
        {"experiment_name": "exp", "optimizer": {"lr": 1e-3}}, flag="hyperparameters"
    )
    model = wl.watch_or_edit(my_model, flag="model", device=DEVICE)
    optimizer = wl.watch_or_edit(optim.Adam(model.parameters(), lr=1e-3), flag="optimizer")
    train_loss = wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="train-loss"
    )

    assert hp.optimizer.lr == 1e-3
    x, y = torch.randn(2, 4, device=DEVICE), torch.tensor([0, 2], device=DEVICE)
    loss = train_loss(model(x), y, batch_ids=["a", "b"])
    assert loss.shape == (2,)
    loss.mean().backward()
    optimizer.step()
    train_loss(model(x), y, batch_ids=["a", "b"])
    found = triples("train-loss")
    assert [(sample, step) for sample, step, _ in found] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert [found[0][2], found[2][2]] == pytest.approx(loss.tolist())
    assert Path("weightslab_runs/exp").is_dir()


@pytest.mark.parametrize("flag", ["data", "dataset", "dataloader"])
def test_flags_of_data(flag: str) -> None:
    """Quoted: "Supported flags … data / dataset / dataloader"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(), batch_size=4), flag=flag)
    assert isinstance(loader, DataLoader)
    assert [list(ids) for _, _, ids in loader] == [
        ["train/0", "train/1", "train/2", "train/3"],
        ["train/4", "train/5"],
    ]


@pytest.mark.parametrize("flag", ["loss", "metric", "signal"])
def test_flags_of_signals(flag: str) -> None:
    """Quoted: "Supported flags … loss / metric / signal"."""
    watched = wl.watch_or_edit(lambda x: x * 2, flag=flag, signal_name="twice")
    given = torch.tensor([1.0, 2.0])
    assert watched(given, batch_ids=["a", "b"]).tolist() == [2.0, 4.0]
    assert triples("twice") == [("a", 0, 2.0), ("b", 0, 4.0)]


@pytest.mark.parametrize("flag", ["hyperparameters", "hp", "params", "parameters"])
def test_flags_of_hyperparameters(flag: str) -> None:
    """Quoted: "Supported flags … hyperparameters / hp / params / parameters"."""
    hp = wl.watch_or_edit({"experiment_name": "e", "lr": 0.1}, flag=flag)
    assert hp["lr"] == hp.lr == 0.1
    assert wl.get_current_experiment_hash() is not None


def test_flag_of_a_logger() -> None:
    """Quoted: "Supported flags … logger"; its scalars join the curve and still reach it."""
    logger = wl.watch_or_edit(MyLogger(), flag="logger")
    logger.log_metrics({"val/acc": 0.5}, step=3)
    assert logger.seen == [({"val/acc": 0.5}, 3)]
    assert curve("val/acc") == [(3, 0.5)]


def test_model_and_optimizer_come_back() -> None:
    """Quoted: "For model/data/optimizer/logger/signal wrappers: returns a stable ledger proxy".

    As api.md reads it: model and optimizer in place, "the same object comes back".
    """
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    logger = MyLogger()
    assert wl.watch_or_edit(model, flag="model") is model
    assert wl.watch_or_edit(optimizer, flag="optimizer") is optimizer
    assert wl.watch_or_edit(logger, flag="logger") is logger


def test_hyperparameters_handle() -> None:
    """Quoted: "For hyperparameters: returns the registered hyperparameters handle"."""
    with wl.Session("run") as session:
        mine = {"optimizer": {"lr": 1e-3}}
        hp = wl.watch_or_edit(mine, flag="hyperparameters")
        assert session.registry.hyperparameters is hp
        hp.optimizer.lr = 1.0
        assert mine == {"optimizer": {"lr": 1e-3}}


def test_defaults_of_hyperparameters() -> None:
    """`defaults=` fills what the hyperparameters do not say."""
    hp = wl.watch_or_edit(
        {"optimizer": {"name": "adam"}}, flag="hp", defaults={"optimizer": {"lr": 1e-3}}
    )
    assert hp.optimizer == {"name": "adam", "lr": 1e-3}


def test_poll_interval_is_for_files() -> None:
    """No falsy no-op: an option that a dict of hyperparameters cannot use is refused."""
    with pytest.raises(InputError, match="poll_interval"):
        wl.watch_or_edit({"lr": 1}, flag="hyperparameters", poll_interval=1.0)


def test_unknown_flag() -> None:
    """Issue 2: "Unknown flags and options name the nearest known"."""
    with pytest.raises(UnknownOptionError, match="did you mean 'optimizer'"):
        wl.watch_or_edit(nn.Linear(1, 1), flag="optimiser")


@pytest.mark.parametrize(
    ("obj", "flag", "wrong", "nearest"),
    [
        (nn.Linear(1, 1), "model", "devise", "device"),
        (nn.MSELoss(), "loss", "per_samples", "per_sample"),
        (Numbers(), "data", "batchsize", "batch_size"),
        ({"lr": 1}, "hp", "default", "defaults"),
    ],
)
def test_unknown_option(obj: Any, flag: str, wrong: str, nearest: str) -> None:
    """Issue 2: "Unknown flags and options name the nearest known"."""
    with pytest.raises(UnknownOptionError, match=f"did you mean '{nearest}'"):
        wl.watch_or_edit(obj, flag=flag, **{wrong: 1})


@pytest.mark.parametrize(
    ("obj", "flag"),
    [
        (object(), "model"),
        (nn.Linear(1, 1), "optimizer"),
        (3, "data"),
        (object(), "logger"),
        (nn.MSELoss, "loss"),
        ("text", "loss"),
        (3, "hyperparameters"),
    ],
)
def test_an_object_that_is_not_what_the_flag_says(obj: Any, flag: str) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(InputError, match=r"got|not"):
        wl.watch_or_edit(obj, flag=flag)


def _inferable() -> list[tuple[str, Any]]:
    omegaconf = pytest.importorskip("omegaconf")
    torchmetrics = pytest.importorskip("torchmetrics")
    return [
        ("loaders", DataLoader(Numbers())),
        ("loaders", Numbers()),
        ("optimizers", optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)),
        ("signals", nn.CrossEntropyLoss()),
        ("signals", torchmetrics.MeanMetric()),
        ("hyperparameters", omegaconf.OmegaConf.create({"lr": 1})),
    ]


@pytest.mark.parametrize("case", range(6))
def test_missing_flag_is_inferred(case: int) -> None:
    """api.md: "a missing flag is inferred for a DataLoader, Dataset, Optimizer, DictConfig, …"."""
    kind, obj = _inferable()[case]
    with wl.Session("run") as session:
        wl.watch_or_edit(obj)
        assert getattr(session.registry, kind)


@pytest.mark.parametrize("obj", [nn.Linear(1, 1), {"lr": 1}, abs])
def test_missing_flag_that_cannot_be_inferred(obj: Any) -> None:
    """api.md: "and otherwise refused with the list of flags"."""
    with pytest.raises(InputError, match=r"model.*dataloader.*optimizer.*hyperparameters"):
        wl.watch_or_edit(obj)


def test_obj_name_names_the_signal() -> None:
    """api.md: "`obj_name` names the object (and the signal, where no `signal_name` is given)"."""
    watched = wl.watch_or_edit(nn.MSELoss(reduction="none"), "mse", "loss")
    watched(torch.zeros(1), torch.ones(1), batch_ids=["a"])
    assert triples("mse") == [("a", 0, 1.0)]


def test_obj_name_names_the_object() -> None:
    """api.md: "`obj_name` names the object"."""
    model = nn.Linear(1, 1)
    with wl.Session("run") as session:
        wl.watch_or_edit(model, obj_name="student", flag="model")
        wl.watch_or_edit(Numbers(), obj_name="val_loader", flag="data")
        assert session.registry.models["student"] is model
        assert "val_loader" in session.registry.loaders


def test_device_moves_the_model() -> None:
    """api.md: "`device` moves the model"."""
    model = wl.watch_or_edit(nn.Linear(1, 1), flag="model", device="meta")
    assert model.weight.device.type == "meta"


def test_a_device_that_torch_does_not_know() -> None:
    """The error names the device."""
    with pytest.raises(InputError, match="abacus"):
        wl.watch_or_edit(nn.Linear(1, 1), flag="model", device="abacus")


@pytest.mark.parametrize("option", ["signal_name", "name"])
def test_names_of_a_signal(option: str) -> None:
    """The seed writes `signal_name="train-loss"` and `name="dice/sample"`: both name it."""
    watched = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", **{option: "x/y"})
    watched(torch.zeros(1), torch.ones(1), batch_ids=["a"])
    assert triples("x/y") == [("a", 0, 1.0)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Numbers(5), [2, 2, 1]),
        (Items([torch.zeros(1)] * 4), [2, 2]),
    ],
)
def test_a_dataset_becomes_a_loader(data: Dataset[Any], expected: list[int]) -> None:
    """api.md: "a dataset instead of a loader | becomes a loader: `batch_size`, …"."""
    loader = wl.watch_or_edit(data, flag="dataset", batch_size=2, loader_name="train_loader")
    assert isinstance(loader, DataLoader)
    sizes = []
    for _ in loader:
        ids = wl.current_ids()
        assert ids is not None
        sizes.append(len(ids))
    assert sizes == expected


def test_every_option_of_a_dataset() -> None:
    """api.md: "`batch_size`, `shuffle`, `num_workers`, `collate_fn`, `drop_last`, …"."""
    loader = wl.watch_or_edit(
        Numbers(5),
        flag="data",
        batch_size=2,
        shuffle=True,
        num_workers=0,
        collate_fn=lambda items: (torch.stack([x for x, _ in items]), [y for _, y in items]),
        drop_last=True,
        loader_name="a",
        is_training=True,
    )
    batches = list(loader)
    assert [len(ids) for _, _, ids in batches] == [2, 2]
    for x, y, ids in batches:
        assert isinstance(y, list)
        assert [f"a/{int(value)}" for value in x] == list(ids)


def test_options_of_a_dataset_are_not_for_loaders() -> None:
    """No falsy no-op: a loader that is there already has its batch size."""
    with pytest.raises(InputError, match="batch_size"):
        wl.watch_or_edit(DataLoader(Numbers()), flag="data", batch_size=2)
