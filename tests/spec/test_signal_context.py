"""The seed's section "SignalContext": every attribute, property and usage pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import weightslab as wl
from tests.spec.support import Items, Training, said, table, triples


def fired(subscribe_to: str = "loss", **options: Any) -> list[Any]:
    """What a dynamic signal sees, one entry of attributes a call."""
    seen: list[Any] = []

    @wl.signal(name="probe", subscribe_to=subscribe_to, **options)
    def probe(ctx: Any) -> None:
        seen.append(
            {
                name: getattr(ctx, name)
                for name in (
                    "subscribed_value",
                    "subscribed_history",
                    "sample_id",
                    "dataframe",
                    "data",
                    "origin",
                    "image",
                    "points",
                    "is_static",
                    "is_dynamic",
                )
            }
        )

    return seen


def computed(items: list[Any], read: Any, origin: str = "train") -> list[Any]:
    """What a static signal reads of each item."""
    seen: list[Any] = []

    @wl.signal(name="probe")
    def probe(ctx: Any) -> None:
        seen.append(read(ctx))

    wl.compute_signals(Items(items), origin=origin)
    return seen


# -- dynamic -------------------------------------------------------------------------


def test_attributes_of_a_dynamic_signal() -> None:
    """Quoted: "subscribed_value Current value … (float or None)", "sample_id (str)", "origin"."""
    seen = fired()
    training = Training("loss")
    (batch, *_) = training.loader
    losses = training.step(batch)
    wl.history()
    assert [entry["sample_id"] for entry in seen] == list(batch[2])
    assert [entry["subscribed_value"] for entry in seen] == losses.tolist()
    assert all(type(entry["sample_id"]) is str for entry in seen)
    assert all(type(entry["subscribed_value"]) is float for entry in seen)
    assert {entry["origin"] for entry in seen} == {"train"}


def test_ids_are_text() -> None:
    """Quoted: "sample_id (str) Unique identifier for the sample"."""
    seen = fired()
    wl.save_signals({"loss": [1.0]}, torch.tensor([7]), step=0)
    wl.history()
    assert [entry["sample_id"] for entry in seen] == ["7"]


@pytest.mark.parametrize("origin", ["train", "val"])
def test_origin(origin: str) -> None:
    """Quoted: "origin (str) Data split: “train”, “val”, “test”, etc."."""
    seen = fired("iou")
    wl.save_instance_signals({"iou": [1.0]}, ["a"], [0], origin=origin)
    wl.history()
    assert [entry["origin"] for entry in seen] == [origin]


def test_is_dynamic() -> None:
    """Quoted: "ctx.is_dynamic True if computing dynamic signal (subscribed to another metric)"."""
    seen = fired()
    wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    wl.history()
    assert [(entry["is_dynamic"], entry["is_static"]) for entry in seen] == [(True, False)]


def test_no_history_without_the_flag() -> None:
    """Quoted: "(only if include_history=True in decorator)"."""
    seen = fired()
    for step in range(2):
        wl.save_signals({"loss": [1.0]}, ["a"], step=step)
    wl.history()
    assert [bool(entry["subscribed_history"]) for entry in seen] == [False, False]


def test_dataframe() -> None:
    """Quoted: "Dynamic signals can also read previously computed values through ctx.dataframe"."""
    read = []

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    @wl.signal(name="previous", subscribe_to="loss")
    def previous(ctx: Any) -> float | None:
        frame = ctx.dataframe
        if "signals//half" not in frame.columns:
            return None
        import polars as pl

        row = frame.filter(pl.col("sample_id") == ctx.sample_id)
        read.append(frame["sample_id"].to_list())
        value = row["signals//half"].item()
        return None if value is None else float(value)

    with wl.Session("run") as session:
        wl.save_signals({"loss": [4.0, 6.0]}, ["a", "b"], step=0)
        wl.history()
        wl.save_signals({"loss": [8.0, 10.0]}, ["a", "b"], step=1)
        found = {row[:2]: row[2] for row in triples("previous")}
        assert said(session) == ""
    assert found["a", 1] in (2.0, 4.0)  # the one before, or the one of this step
    assert found["b", 1] in (3.0, 5.0)
    assert all(ids == ["a", "b"] for ids in read)


def test_dataframe_has_tags_and_discards() -> None:
    """Quoted: "Full ledger dataframe for context"."""
    wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
    wl.tag_samples(["a"], "hard")
    wl.discard_samples(["b"])
    seen = fired()
    wl.save_signals({"loss": [3.0]}, ["a"], step=1)
    wl.history()
    (entry,) = seen
    columns = ["sample_id", "discarded", "tag:hard"]
    assert entry["dataframe"].select(columns).rows() == [("a", False, True), ("b", True, False)]
    assert "signals//loss" in entry["dataframe"].columns


def test_nothing_is_read_from_the_dataset() -> None:
    """A dynamic signal gets no data: reading it would draw the training's random numbers."""
    seen = fired()
    wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    wl.history()
    assert [(e["data"], e["image"], e["points"]) for e in seen] == [(None, None, None)]


# -- static --------------------------------------------------------------------------


def test_attributes_of_a_static_signal() -> None:
    """Quoted: "Attributes for static signals & sample context (general use)"."""
    items = [(torch.tensor([1.0, 2.0]), 0), (torch.tensor([3.0, 4.0]), 1)]
    seen = computed(
        items,
        lambda ctx: (
            ctx.sample_id,
            ctx.origin,
            ctx.data.tolist(),
            ctx.is_static,
            ctx.is_dynamic,
            ctx.subscribed_value,
        ),
        origin="val",
    )
    assert seen == [
        ("val/0", "val", [1.0, 2.0], True, False, None),
        ("val/1", "val", [3.0, 4.0], True, False, None),
    ]


def test_dataframe_of_a_static_signal() -> None:
    """Quoted: "dataframe Full ledger dataframe for context"."""
    wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
    items = [(torch.zeros(2), 0, "a"), (torch.zeros(2), 1, "b")]
    losses = computed(items, lambda ctx: ctx.dataframe["signals//loss"].to_list())
    assert losses == [[1.0, 2.0]] * 2


LEVELS = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
IMAGES: dict[str, Any] = {
    "bytes, channels last": LEVELS,
    "bytes, channels first": torch.tensor(LEVELS).permute(2, 0, 1),
    "floats, channels first": torch.tensor(LEVELS).permute(2, 0, 1) / 255,
    "floats, channels last": (LEVELS / 255).astype(np.float32),
    "half floats": (torch.tensor(LEVELS).permute(2, 0, 1) / 255).half(),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_image(kind: str) -> None:
    """Quoted: "ctx.image Normalized image tensor view": one layout, one range, whatever came."""
    (image,) = computed([(IMAGES[kind], 0)], lambda ctx: ctx.image)
    assert (image.shape, image.dtype) == ((16, 12, 3), np.uint8)
    assert np.abs(image.astype(int) - LEVELS).max() <= 1


@pytest.mark.parametrize("shape", [(16, 12), (1, 16, 12), (16, 12, 1)])
def test_grey_image(shape: tuple[int, ...]) -> None:
    """api.md: "3-d image or None": grey ones have a channel, too."""
    (image,) = computed([(torch.rand(shape), 0)], lambda ctx: ctx.image)
    assert image.shape == (16, 12, 1)


@pytest.mark.parametrize("data", [torch.rand(5), torch.tensor(1.0), "a sentence", None])
def test_what_is_no_image(data: Any) -> None:
    """Quoted: "(if applicable)"."""
    assert computed([(data, 0)] if data is not None else [(torch.rand(7), 0)],
                    lambda ctx: ctx.image) == [None]  # fmt: skip


@pytest.mark.parametrize("width", [3, 4])
def test_points(width: int) -> None:
    """Quoted: "ctx.points Point cloud view"; api.md: "`(N, 3..)` points or None"."""
    cloud = torch.rand(50, width)
    (points,) = computed([(cloud, 0)], lambda ctx: ctx.points)
    assert tuple(points.shape) == (50, width)
    assert torch.equal(torch.as_tensor(points), cloud)


@pytest.mark.parametrize("data", [torch.rand(5), torch.rand(3, 8, 8), torch.rand(9, 2)])
def test_what_are_no_points(data: torch.Tensor) -> None:
    """api.md: "or None"."""
    assert computed([(data, 0)], lambda ctx: ctx.points) == [None]


def test_a_signal_of_pixels() -> None:
    """Quoted: "input-derived features (brightness, blue-pixel count, sharpness, …)"."""

    @wl.signal(name="blue")
    def blue(ctx: Any) -> float:
        red, green, blue = ctx.image.transpose(2, 0, 1)
        return float(((blue > red) & (blue > green)).sum())

    image = torch.zeros(3, 4, 4)
    image[2, :2] = 1.0
    wl.compute_signals(Items([(image, 0), (torch.zeros(3, 4, 4), 0)]), origin="train")
    assert [row["signals//blue"] for row in table().values()] == [8.0, 0.0]


# -- usage patterns ------------------------------------------------------------------


def test_accessing_subscribed_values() -> None:
    """The seed's pattern, verbatim: value, values of the history and their steps."""
    read = []

    @wl.signal(
        name="pattern", subscribe_to="loss", include_history=True, include_history_metadata=True
    )
    def pattern(ctx):  # type: ignore[no-untyped-def]
        # Simple value access
        loss = ctx.subscribed_value  # current step's loss

        # History access (requires include_history=True)
        history = ctx.subscribed_history
        values = [entry["signal_value"] for entry in history]
        steps = [entry["model_age"] for entry in history]  # if include_history_metadata=True
        read.append((loss, values, steps))

    for step, value in enumerate((4.0, 2.0, 1.0)):
        wl.save_signals({"loss": [value]}, ["a"], step=step)
    wl.history()
    assert read == [(4.0, [], []), (2.0, [4.0], [0]), (1.0, [4.0, 2.0], [0, 1])]


def test_checking_data_type() -> None:
    """The seed's pattern, verbatim: one body for a dynamic and for a static signal."""

    def process_sample(data: torch.Tensor, sample_id: str) -> float:
        return float(data.sum()) + len(sample_id)

    def either(ctx):  # type: ignore[no-untyped-def]
        if ctx.is_dynamic:
            # Compute from subscribed metric
            return 0.5 * ctx.subscribed_value
        else:  # noqa: RET505  # as the page has it
            # Compute from sample data
            return process_sample(ctx.data, ctx.sample_id)

    wl.signal(name="dynamic", subscribe_to="loss")(either)
    wl.signal(name="static")(either)
    wl.save_signals({"loss": [3.0]}, ["img0"], step=0)
    wl.compute_signals(Items([(torch.ones(2), 0, "img0")]), origin="train")
    row = table()["img0", 0]
    assert row["signals//dynamic"] == 1.5
    assert row["signals//static"] == 2.0 + len("img0")


def test_where_it_is_used() -> None:
    """Quoted: "Where SignalContext is used: In dynamic signals subscribed through @wl.signal"."""
    kinds = []
    wl.signal(name="kind", subscribe_to="loss")(lambda ctx: kinds.append(type(ctx)))
    wl.save_signals({"loss": [3.0]}, ["a"], step=0)
    wl.history()
    assert kinds == [wl.SignalContext]
