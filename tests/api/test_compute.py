"""`wl.compute_signals`: static signals over a whole dataset, beside a training."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import weightslab as wl
from tests.capture.oracles import Noisy, Numbers
from weightslab.errors import InputError, ReadOnlyError, UnknownOptionError
from weightslab.session import current


def values(name: str, origin: str | None = None) -> dict[str, float]:
    """Id -> latest value of a signal, without samples that have none."""
    frame = wl.samples(origin=origin)
    return {
        row["sample_id"]: row[f"signals//{name}"]
        for row in frame.to_dicts()
        if row[f"signals//{name}"] is not None
    }


def first(ctx: wl.SignalContext) -> float:
    """X of an item of the oracles."""
    return float(ctx.data[0])


LEVELS = np.stack([np.full((6, 5, 3), level, np.uint8) for level in (0, 51, 255)])
"""Three pictures: black, dark and white."""


class Pictures(Dataset[Any]):
    """The three pictures, in one of the forms that datasets give them."""

    def __init__(self, form: Callable[[np.ndarray], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return len(LEVELS)

    def __getitem__(self, index: int) -> Any:
        return self.form(LEVELS[index])


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "pillow": lambda levels: (Image.fromarray(levels), 1),
    "to tensor": lambda levels: (torch.from_numpy(levels).permute(2, 0, 1) / 255, 1),
    "bytes": torch.from_numpy,
    "array": lambda levels: [levels, "a label"],
    "dict": lambda levels: {"label": 3, "image": levels / 255},
    "grey": lambda levels: (levels[:, :, 0],),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_a_signal_of_the_picture_is_the_same_whatever_the_form(form: str, workers: int) -> None:
    """Pillow, tensors, arrays and dicts, here or in workers: one function reads them all."""

    @wl.signal(name="brightness")
    def brightness(ctx: wl.SignalContext) -> Any:
        return ctx.image.mean()  # type: ignore[union-attr]

    loader = DataLoader(Pictures(FORMS[form]), 2, num_workers=workers)
    assert wl.compute_signals(loader, origin="train") == 3
    assert values("brightness") == {"train/0": 0, "train/1": 51, "train/2": 255}


def test_the_example_of_the_page() -> None:
    """A watched loader by its variable, with its split."""
    wl.signal(name="first")(first)
    train_loader = wl.watch_or_edit(
        DataLoader(Numbers(5), 2, shuffle=True), flag="data", loader_name="train_loader"
    )
    assert wl.compute_signals(train_loader, origin="train") == 5
    assert values("first", "train") == {f"train_loader/{n}": n for n in range(5)}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_fetch_and_the_functions_run_here(context: str) -> None:
    """The dataset is read in other processes, the function sees this one's memory."""
    seen: list[str] = []

    @wl.signal
    def remembers(ctx: wl.SignalContext) -> float:
        assert threading.current_thread() is threading.main_thread()
        seen.append(str(ctx.sample_id))
        return first(ctx)

    dataset = Numbers(9)
    loader = DataLoader(dataset, 2, num_workers=2, multiprocessing_context=context)
    assert wl.compute_signals(loader, "val") == 9
    assert seen == [f"val/{n}" for n in range(9)]
    assert dataset.reads == 0
    assert values("remembers") == {f"val/{n}": n for n in range(9)}


def test_the_context_says_what_it_is_about() -> None:
    """Sample, split and kind; nothing of a subscription is there."""
    seen = []

    @wl.signal
    def looks(ctx: wl.SignalContext) -> None:
        seen.append((ctx.sample_id, ctx.origin, ctx.is_static, ctx.is_dynamic))
        assert ctx.subscribed_value is None
        assert ctx.subscribed_history == []
        assert ctx.points is None
        assert ctx.step is None

    wl.compute_signals(Numbers(1), "test")
    assert seen == [("test/0", "test", True, False)]


def test_a_function_may_write_into_its_image() -> None:
    """It is the function's own: the next function, and the dataset, have theirs."""

    @wl.signal
    def darkens(ctx: wl.SignalContext) -> Any:
        assert ctx.image is ctx.image
        ctx.image[:] = 7  # type: ignore[index]
        return ctx.image.mean()  # type: ignore[union-attr]

    wl.signal(name="after")(lambda ctx: ctx.image.mean())
    pictures = [levels.copy() for levels in LEVELS]
    wl.compute_signals(pictures, "train")
    assert set(values("darkens").values()) == {7}
    assert list(values("after").values()) == [0, 51, 255]
    np.testing.assert_array_equal(pictures, LEVELS)


def test_points_are_seen_as_points() -> None:
    """A point cloud is a table of points, and no image."""

    @wl.signal
    def height(ctx: wl.SignalContext) -> float:
        assert ctx.image is None
        return float(ctx.points[:, 2].max())  # type: ignore[index]

    clouds = TensorDataset(torch.arange(24.0).reshape(2, 4, 3))
    wl.compute_signals(clouds, "train")
    assert values("height") == {"train/0": 11, "train/1": 23}


def test_the_table_is_that_of_the_ledger() -> None:
    """`ctx.dataframe` holds the values that others saved before."""
    loader = wl.watch_or_edit(DataLoader(Numbers(2), 2), flag="data")
    for _, _, ids in loader:
        wl.save_signals({"loss": [0.5, 2.0]}, ids, step=0)

    @wl.signal
    def doubled(ctx: wl.SignalContext) -> Any:
        frame = ctx.dataframe
        return 2 * frame.filter(frame["sample_id"] == ctx.sample_id)["signals//loss"].item()

    wl.compute_signals(loader)
    assert values("doubled") == {"train/0": 1.0, "train/1": 4.0}


# -- which signals ---------------------------------------------------------------------------


@pytest.fixture
def three() -> list[Any]:
    """Two static signals and a dynamic one."""
    one = wl.signal(name="one")(lambda ctx: 1)
    two = wl.signal(name="two")(lambda ctx: 2)
    wl.signal(name="late", subscribe_to="loss")(lambda ctx: 3)
    return [one, two]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (lambda _: None, {"one", "two"}),
        (lambda _: "two", {"two"}),
        (lambda _: "signals//two", {"two"}),
        (lambda _: ["one", "two"], {"one", "two"}),
        (lambda functions: functions[0], {"one"}),
        (lambda functions: ("two", functions[1]), {"two"}),
    ],
    ids=["all", "a name", "a column", "names", "a function", "one twice"],
)
def test_signals_are_chosen_by_name_or_function(
    chosen: Callable[[Any], Any], expected: set[str], three: list[Any]
) -> None:
    """None is every static one; each is computed once."""
    wl.compute_signals(Numbers(2), "train", chosen(three))
    assert set(wl.history()["signal"]) == expected
    assert len(wl.history()) == 2 * len(expected)


def test_an_unknown_name_is_refused_with_the_nearest(three: list[Any]) -> None:
    """Nothing is computed, not even those that are known."""
    with pytest.raises(UnknownOptionError, match="did you mean 'two'"):
        wl.compute_signals(Numbers(2), "train", ["one", "tow"])
    assert len(wl.history()) == 0


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("late", "'late' is dynamic: it fires by itself when 'loss'"),
        (first, "'first' is no signal"),
        ([], "no static signal"),
        (7, "names or functions"),
    ],
)
def test_what_is_no_static_signal_is_refused(chosen: Any, words: str, three: list[Any]) -> None:
    """With what it is, and what to do."""
    with pytest.raises(InputError, match=words):
        wl.compute_signals(Numbers(2), "train", chosen)


def test_without_any_static_signal_it_is_refused() -> None:
    """A pass over a dataset for nothing is a mistake."""
    with pytest.raises(InputError, match=r"no static signal.*@wl.signal"):
        wl.compute_signals(Numbers(2), "train")


# -- what is kept ----------------------------------------------------------------------------


def test_values_stand_in_history_and_table_and_not_on_the_curve() -> None:
    """One value a sample at the step of the moment; the mean over a dataset is no curve."""
    wl.signal(name="first")(first)
    model = nn.Linear(1, 1)
    optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), 0.1), flag="optimizer")
    for _ in range(3):
        optimizer.step()
    wl.compute_signals(Numbers(2), "train")
    assert wl.history("first").select("sample_id", "step", "value").rows() == [
        ("train/0", 3, 0.0),
        ("train/1", 3, 1.0),
    ]
    assert len(wl.history(kind="global")) == 0


def test_computing_again_replaces_the_value_in_the_table() -> None:
    """The table holds the latest, the history both."""
    wl.signal(name="level")(lambda ctx: 1.0)
    dataset = Numbers(300)
    wl.compute_signals(dataset, "train")
    wl.signal(name="level")(lambda ctx: 2.0)
    wl.compute_signals(dataset, "train")
    assert set(values("level").values()) == {2.0}
    assert len(values("level")) == 300
    assert len(wl.history("level")) == 600


def test_what_a_function_raises_costs_its_own_value_only() -> None:
    """The other samples and the other signals have theirs; it is said once and counted."""

    @wl.signal
    def picky(ctx: wl.SignalContext) -> float:
        if first(ctx) == 1:
            raise KeyError("no such thing")
        return first(ctx)

    wl.signal(name="first")(first)
    with pytest.warns(wl.WeightsLabWarning) as caught:
        assert wl.compute_signals(Numbers(3), "train") == 3
        assert wl.compute_signals(Numbers(3), "train") == 3
    assert values("picky") == {"train/0": 0, "train/2": 2}
    assert len(values("first")) == 3
    assert wl.status()["signals"]["failed"] == {"picky": 2}
    said = [str(one.message) for one in caught]
    assert len(said) == 1
    assert "'picky' failed" in said[0]
    assert 'raise KeyError("no such thing")' in said[0]


def test_none_is_no_value() -> None:
    """A sample without one has nothing in history and null in the table."""
    wl.signal(name="odd")(lambda ctx: first(ctx) if first(ctx) % 2 else None)
    wl.compute_signals(Numbers(4), "train")
    assert values("odd") == {"train/1": 1, "train/3": 3}


@pytest.mark.parametrize("returned", ["text", [1, 2], np.zeros(3)], ids=["text", "list", "array"])
def test_what_is_no_number_counts_as_failed(returned: Any) -> None:
    """A signal is one number for a sample."""
    wl.signal(name="wrong")(lambda ctx: returned)
    with pytest.warns(wl.WeightsLabWarning, match="one number"):
        wl.compute_signals(Numbers(2), "train")
    assert wl.status()["signals"]["failed"] == {"wrong": 2}


def test_a_batched_function_gets_lists_and_gives_values_for_all() -> None:
    """`ctx.data`, `ctx.images` and `ctx.sample_ids` are of a chunk; None in a list is no value."""
    sizes = []

    @wl.signal(batched=True)
    def whole(ctx: Any) -> list[float | None]:
        assert len(ctx.data) == len(ctx.images) == len(ctx.sample_ids)
        assert ctx.is_static
        assert ctx.origin == "train"
        sizes.append(len(ctx.data))
        return [float(one[0]) or None for one in ctx.data]

    wl.compute_signals(DataLoader(Numbers(5), 2), "train")
    assert sizes == [2, 2, 1]
    assert values("whole") == {f"train/{n}": n for n in range(1, 5)}


def test_a_batched_function_that_fails_costs_its_chunk_only() -> None:
    """The values of that chunk are counted as lost, the next chunk has its own."""

    @wl.signal(batched=True)
    def whole(ctx: Any) -> Any:
        return torch.zeros(len(ctx.data) + ("train/0" in ctx.sample_ids))

    with pytest.warns(wl.WeightsLabWarning, match="one value for each"):
        wl.compute_signals(DataLoader(Numbers(5), 2), "train")
    assert sorted(values("whole")) == ["train/2", "train/3", "train/4"]
    assert wl.status()["signals"]["failed"] == {"whole": 2}


def test_signals_that_subscribe_to_a_static_one_fire() -> None:
    """They are computed from its values, sample by sample."""
    wl.signal(name="first")(first)
    wl.signal(name="double", subscribe_to="first")(lambda ctx: 2 * ctx.subscribed_value)
    wl.compute_signals(Numbers(300), "train")
    assert values("double") == {f"train/{n}": 2 * n for n in range(300)}


def test_functions_may_tag_and_discard() -> None:
    """Edits of the samples at hand stand when it returns."""

    @wl.signal
    def sorts(ctx: wl.SignalContext) -> None:
        wl.tag_samples([ctx.sample_id], "even" if first(ctx) % 2 == 0 else "odd")
        if first(ctx) == 3:
            wl.discard_samples([ctx.sample_id])

    wl.compute_signals(Numbers(4), "train")
    assert wl.get_samples_by_tag("even") == ["train/0", "train/2"]
    assert wl.get_discarded_samples() == ["train/3"]


def test_discarded_samples_have_values_too() -> None:
    """Whoever looks for what else is wrong with them needs them."""
    wl.signal(name="first")(first)
    loader = wl.watch_or_edit(DataLoader(Numbers(4), 2), flag="data")
    wl.discard_samples(["train/1"])
    assert wl.compute_signals(loader) == 4
    assert values("first") == {f"train/{n}": n for n in range(4)}


class Failing(Numbers):
    def __getitem__(self, index: int) -> Any:
        if index == 7:
            raise OSError("the disk is gone")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_fails_says_so_and_what_was_computed_is_kept(workers: int) -> None:
    """The error is the dataset's own; samples before it have their values."""
    wl.signal(name="first")(first)
    loader = DataLoader(Failing(20), 2, num_workers=workers)
    with pytest.raises(OSError, match="the disk is gone") as caught:
        wl.compute_signals(loader, "train")
    assert multiprocessing.active_children() == []  # although the error still holds their iterator
    assert caught.tb is not None
    assert values("first") == {f"train/{n}": n for n in range(6)}


def test_ctrl_c_keeps_what_was_computed() -> None:
    """To the very sample, and comes out; nothing is counted as failed."""

    @wl.signal
    def slow(ctx: wl.SignalContext) -> float:
        if first(ctx) == 10:
            raise KeyboardInterrupt
        return first(ctx)

    with pytest.raises(KeyboardInterrupt):
        wl.compute_signals(DataLoader(Numbers(), 4), "train")
    assert values("slow") == {f"train/{n}": n for n in range(10)}
    assert wl.status()["work"] == []
    assert wl.status()["signals"]["failed"] == {}


INTERRUPTED = """
import signal
import sys
import weightslab as wl
from torch.utils.data import DataLoader
from tests.capture.oracles import Numbers

# Whoever starts the tests in the background of a script has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with wl.Session(sys.argv[1]):
    called = 0

    @wl.signal
    def slow(ctx):
        global called
        called += 1
        if called == 300:
            print("ready", flush=True)
            sys.stdin.readline()  # until somebody presses Ctrl-C
        return float(ctx.data[0])

    try:
        wl.compute_signals(DataLoader(Numbers(10**6), 32, num_workers=2), "train")
    except KeyboardInterrupt:
        print(len(wl.history("slow")), flush=True)
"""


def test_ctrl_c_at_a_terminal_reaches_the_workers_as_well(tmp_path: Path) -> None:
    """The process group is interrupted: values are there, and everybody ends."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2],
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        os.killpg(running.pid, signal.SIGINT)
        told, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert told == "299\n"


class Words(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        for word in ("a", "bb", "ccc"):
            yield {"data": word, "id": f"word-{word}"}


def test_a_stream_is_computed_to_its_end() -> None:
    """Without a length, under the ids that its items say."""
    wl.signal(name="length")(lambda ctx: len(ctx.data))
    assert wl.compute_signals(Words(), "corpus") == 3
    assert values("length") == {"word-a": 1, "word-bb": 2, "word-ccc": 3}


# -- beside a training -----------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out


def trained(folder: Path, *, computing: bool, workers: int) -> tuple[torch.Tensor, list[float]]:
    """Weights after two epochs on noise from every generator, and what was drawn afterwards."""
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    with wl.Session(folder):

        @wl.signal
        def draws(ctx: wl.SignalContext) -> float:
            return torch.rand(()).item() + random.random() + np.random.rand()  # noqa: NPY002

        model = Net()
        dataset = Noisy(20)
        loader = wl.watch_or_edit(
            DataLoader(dataset, 4, shuffle=True, num_workers=workers), flag="data"
        )
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)
        for _ in range(2):
            for x, noise, _ in loader:
                if computing:
                    assert wl.compute_signals(loader) == 20
                loss = ((model(x) - noise.float()) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if computing:
                    assert wl.compute_signals(dataset) == 20
    weights = torch.cat([part.flatten() for part in model.parameters()]).detach()
    drawn = [torch.rand(()).item(), random.random(), np.random.rand()]  # noqa: NPY002
    return weights, drawn


@pytest.mark.parametrize("workers", [0, 2])
def test_training_is_bit_for_bit_the_same(workers: int, tmp_path: Path) -> None:
    """With a pass over the dataset in the middle of every step: weights and random numbers."""
    bare = trained(tmp_path / "bare", computing=False, workers=workers)
    beside = trained(tmp_path / "beside", computing=True, workers=workers)
    assert torch.equal(beside[0], bare[0])
    assert beside[1] == bare[1]


def test_it_is_no_training_step() -> None:
    """It goes on while training is paused, and names no experiment."""
    wl.signal(name="first")(first)
    loader = wl.watch_or_edit(DataLoader(Numbers(4), 2), flag="data")
    session = current()
    wl.pause()
    assert wl.compute_signals(loader) == 4
    assert wl.status()["paused"]
    assert not session.naming.has_trained
    assert session.batches.current is None
    assert wl.current_ids() is None


def test_the_numbers_of_its_progress_are_in_the_status() -> None:
    """Whoever asks meanwhile hears how far it is; afterwards there is nothing to say."""
    seen = []

    @wl.signal
    def asks(ctx: wl.SignalContext) -> None:
        seen.append(wl.status()["work"])

    wl.compute_signals(DataLoader(Numbers(6), 2), "train")
    assert [work[0]["done"] for work in seen] == [0, 0, 2, 2, 4, 4]
    assert seen[0] == [{"label": "signals of train", "done": 0, "total": 6}]
    assert wl.status()["work"] == []


# -- where it cannot be called ---------------------------------------------------------------


class Calling(Numbers):
    def __getitem__(self, index: int) -> Any:
        try:
            wl.compute_signals([1, 2])
        except wl.WeightsLabError as error:
            return f"{type(error).__name__}: {error}"
        return "nothing was said"


def test_a_worker_cannot_call_it() -> None:
    """There is no session in a DataLoader's worker."""
    (told,) = next(iter(DataLoader(Calling(1), 1, num_workers=1)))
    assert told.startswith("WorkerProcessError: wl.compute_signals was called inside")


def test_a_folder_that_is_only_looked_at_takes_no_values(tmp_path: Path) -> None:
    """The refusal of any other save."""
    with wl.Session(tmp_path):
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    with wl.Session(tmp_path, mode="r"):
        wl.signal(name="first")(first)
        with pytest.raises(ReadOnlyError):
            wl.compute_signals(Numbers(2), "train")


@pytest.mark.parametrize("origin", ["", 7])
def test_an_origin_is_a_name(origin: Any) -> None:
    """Anything else is refused before anything is read."""
    wl.signal(name="first")(first)
    dataset = Numbers(2)
    with pytest.raises(InputError, match="origin"):
        wl.compute_signals(dataset, origin)
    assert dataset.reads == 0
