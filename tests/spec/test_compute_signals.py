"""The seed's section "compute_signals", and what the page says of static signals."""

from __future__ import annotations

import inspect
import os
import random
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.spec.support import Items, Numbers, digits, said, table
from weightslab.errors import InputError, UnknownOptionError

pytestmark = pytest.mark.usefixtures("brightness")


@pytest.fixture
def brightness() -> list[str]:
    """A static signal, and the ids that it was asked for."""
    asked: list[str] = []

    @wl.signal(name="brightness")
    def brightness(ctx: Any) -> float:
        asked.append(ctx.sample_id)
        return float(ctx.data.mean())

    return asked


def column(name: str) -> dict[str, Any]:
    """Latest value of every sample."""
    return {key[0]: row[f"signals//{name}"] for key, row in table().items()}


def expected(data: TensorDataset, origin: str = "train") -> dict[str, Any]:
    """Mean of every image."""
    images = data.tensors[0]
    return {f"{origin}/{n}": pytest.approx(float(x.mean())) for n, x in enumerate(images)}


def test_signature() -> None:
    """Quoted: "wl.compute_signals(dataset_or_loader, origin=None, signals=None)"."""
    parameters = inspect.signature(wl.compute_signals).parameters.values()
    found = [(p.name, ... if p.default is p.empty else p.default) for p in parameters]
    assert found == [("dataset_or_loader", ...), ("origin", None), ("signals", None)]


def test_typical_usage() -> None:
    """The seed's line, verbatim: "wl.compute_signals(train_loader, origin="train")"."""
    data = digits(20)
    train_loader = wl.watch_or_edit(
        DataLoader(data, batch_size=6, shuffle=True), flag="data", loader_name="train"
    )
    wl.compute_signals(train_loader, origin="train")
    assert column("brightness") == expected(data)


@pytest.mark.parametrize("shape", ["dataset", "loader", "shuffled", "workers", "watched dataset"])
def test_over_a_whole_dataset(shape: str, brightness: list[str]) -> None:
    """Quoted: "Execute registered static signals for a dataset": each sample once, by its id."""
    data = digits(10)
    given: Any = {
        "dataset": data,
        "loader": DataLoader(data, batch_size=4),
        "shuffled": DataLoader(data, batch_size=4, shuffle=True),
        "workers": DataLoader(data, batch_size=4, num_workers=2),
    }.get(shape)
    if given is None:
        given = wl.watch_or_edit(data, flag="data", batch_size=4, loader_name="train")
    wl.compute_signals(given, origin="train")
    assert column("brightness") == expected(data)
    assert sorted(brightness) == sorted(expected(data))


def test_the_functions_run_in_this_process() -> None:
    """Issue 4: "loader workers fetch, signals run in the parent"."""

    @wl.signal(name="process")
    def process(_: Any) -> float:
        return float(os.getpid())

    wl.compute_signals(DataLoader(digits(6), batch_size=2, num_workers=2), origin="train")
    assert set(column("process").values()) == {float(os.getpid())}


def test_upsert() -> None:
    """Quoted: "upsert results in the ledger dataframe": a second run replaces, nothing doubles."""
    factor = [1.0]

    @wl.signal(name="scaled")
    def scaled(ctx: Any) -> float:
        return factor[0] * float(ctx.data.sum())

    loader = wl.watch_or_edit(Numbers(4), flag="data", batch_size=2, loader_name="train")
    wl.compute_signals(loader)
    wl.tag_samples(["train/3"], "mine")
    factor[0] = 2.0
    wl.compute_signals(loader)
    assert column("scaled") == {f"train/{n}": 2.0 * n for n in range(4)}
    assert column("brightness") == {f"train/{n}": float(n) for n in range(4)}
    assert table()["train/3", 0]["tag:mine"] is True
    assert wl.samples().height == 4


def test_the_same_samples_as_the_training() -> None:
    """Input features and losses stand in the same rows, whichever came first."""
    loader = wl.watch_or_edit(Numbers(4), flag="data", batch_size=2, loader_name="train")
    for inputs, _, ids in loader:
        wl.save_signals({"loss": inputs[:, 0]}, ids)
    wl.compute_signals(loader, origin="train")
    assert column("loss") == column("brightness")


def test_the_dataset_of_a_watched_loader() -> None:
    """The dataset that a watched loader reads holds the same samples as the loader."""
    data = Numbers(4)
    wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="train")
    wl.compute_signals(data, origin="train")
    assert column("brightness") == {f"train/{n}": float(n) for n in range(4)}


def test_origin() -> None:
    """Quoted: "origin (str) Data split: “train”, “val”, “test”, etc."."""
    origins = []

    @wl.signal(name="origin")
    def origin(ctx: Any) -> float:
        origins.append(ctx.origin)
        return 0.0

    wl.compute_signals(digits(2), origin="val")
    assert origins == ["val", "val"]
    assert wl.samples(origin="val")["sample_id"].to_list() == ["val/0", "val/1"]
    assert wl.samples(origin="val")["origin"].unique().to_list() == ["val"]


def test_the_origin_of_a_watched_loader_is_its_name() -> None:
    """Without `origin=`, the loader says what split it is."""
    loader = wl.watch_or_edit(Numbers(3), flag="data", loader_name="test", batch_size=2)
    wl.compute_signals(loader)
    assert wl.samples(origin="test").height == 3


def test_only_these_signals(brightness: list[str]) -> None:
    """`signals=` chooses among the registered ones."""
    for name in ("one", "two"):
        wl.signal(name=name)(lambda ctx: 1.0)
    wl.compute_signals(digits(3), origin="train", signals=["one"])
    columns = set(table()["train/0", 0])
    assert "signals//one" in columns
    assert not {"signals//two", "signals//brightness"} & columns
    assert brightness == []
    wl.compute_signals(digits(3), origin="train", signals="signals//two")
    assert "signals//two" in table()["train/0", 0]


def test_a_signal_that_does_not_exist() -> None:
    """Issue 2: "Unknown … options name the nearest known"."""
    with pytest.raises(UnknownOptionError, match="brightness"):
        wl.compute_signals(digits(3), signals=["brightnes"])


def test_a_dynamic_signal_is_not_computed() -> None:
    """Quoted: "Execute registered static signals"; one that subscribes is refused by name."""
    got = []
    wl.signal(name="dynamic", subscribe_to="loss")(got.append)
    wl.compute_signals(digits(3), origin="train")
    assert got == []
    with pytest.raises(InputError, match="dynamic"):
        wl.compute_signals(digits(3), origin="train", signals=["dynamic"])


@pytest.mark.parametrize("what", [None, 3, "train", object()])
def test_what_is_no_dataset(what: Any) -> None:
    """The error says what it takes and what came."""
    with pytest.raises(InputError, match=r"dataset|loader"):
        wl.compute_signals(what)


def test_one_failing_sample() -> None:
    """api.md: "one failing sample is counted and warned of once, and does not lose the others"."""

    @wl.signal(name="inverse")
    def inverse(ctx: Any) -> float:
        return 1.0 / float(ctx.data.sum())

    with wl.Session("run") as session:
        with pytest.warns(wl.WeightsLabWarning) as caught:
            wl.compute_signals(Numbers(3), origin="train")
        assert column("inverse") == {"train/0": None, "train/1": 1.0, "train/2": 0.5}
        assert len(caught) == 1
        assert "inverse" in said(session) and "ZeroDivisionError" in said(session)


def test_none_means_no_value() -> None:
    """api.md: "`None` means no value"."""
    wl.signal(name="some")(lambda ctx: None if ctx.data.sum() == 0 else 1.0)
    wl.compute_signals(Numbers(2), origin="train")
    assert column("some") == {"train/0": None, "train/1": 1.0}


def test_a_static_signal_may_be_subscribed_to() -> None:
    """api.md: dynamic signals fire "on other signals"."""
    wl.signal(name="double", subscribe_to="brightness")(lambda ctx: 2.0 * ctx.subscribed_value)
    wl.compute_signals(Numbers(3), origin="train")
    assert column("double") == {f"train/{n}": 2.0 * n for n in range(3)}


def test_dictionaries_and_bare_items() -> None:
    """Whatever an item looks like, `ctx.data` is its input."""
    dicts = [{"image": torch.full((2,), float(n)), "label": n} for n in range(2)]
    wl.compute_signals(Items(dicts), origin="train")
    wl.compute_signals(Items([torch.full((2,), 5.0)]), origin="val")
    assert column("brightness") == {"train/0": 0.0, "train/1": 1.0, "val/0": 5.0}


def test_ids_in_the_items() -> None:
    """A dataset that names its samples keeps its names."""
    items = [(torch.full((2,), float(n)), 0, f"img{n}") for n in range(2)]
    wl.compute_signals(Items(items), origin="train")
    assert column("brightness") == {"img0": 0.0, "img1": 1.0}


def test_discarded_samples_have_features_too() -> None:
    """Features describe the data: a discarded sample has them, so that it can be judged."""
    loader = wl.watch_or_edit(Numbers(4), flag="data", batch_size=2, loader_name="train")
    list(loader)
    wl.discard_samples(["train/1"])
    wl.compute_signals(loader)
    assert column("brightness") == {f"train/{n}": float(n) for n in range(4)}


def test_the_training_is_the_same_as_without() -> None:
    """Computing signals draws no random number that the training would have drawn."""

    class Noisy(Numbers):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.rand(1) + random.random(), index

    def drawn(*, computes: bool) -> list[float]:
        torch.manual_seed(3)
        random.seed(3)
        if computes:
            wl.compute_signals(DataLoader(Noisy(6), batch_size=2, shuffle=True), origin="train")
        return [*torch.rand(3).tolist(), random.random()]

    assert drawn(computes=True) == drawn(computes=False)


def test_a_progress_bar(capfd: pytest.CaptureFixture[str]) -> None:
    """Issue 4: "with a progress bar": nothing of it in the standard output of a batch job."""
    wl.compute_signals(digits(8), origin="train")
    assert capfd.readouterr().out == ""


def test_no_static_signal_at_all() -> None:
    """Nothing to compute is said, not passed over."""
    wl.reset()
    with pytest.raises(InputError, match=r"wl\.signal"):
        wl.compute_signals(digits(2))
