"""`ctx.image` and `ctx.points`: what a signal's function sees of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from weightslab.signals.views import image_of, points_of

LEVELS = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
"""A picture of 5 x 6 pixels in three channels."""


def as_pillow(levels: Any) -> Any:
    return Image.fromarray(levels)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(as_pillow(LEVELS), id="pillow"),
        pytest.param(LEVELS, id="array [H, W, C]"),
        pytest.param(LEVELS.transpose(2, 0, 1), id="array [C, H, W]"),
        pytest.param(torch.from_numpy(LEVELS), id="tensor [H, W, C]"),
        pytest.param(torch.from_numpy(LEVELS).permute(2, 0, 1), id="tensor [C, H, W]"),
        pytest.param(torch.from_numpy(LEVELS).permute(2, 0, 1) / 255, id="ToTensor"),
        pytest.param((LEVELS / 255).astype(np.float16), id="float16"),
        pytest.param(LEVELS.astype(np.float64), id="floats to 255"),
        pytest.param(LEVELS.astype(np.int64), id="int64"),
        pytest.param(LEVELS.astype(np.uint16) * 257, id="uint16"),
        pytest.param((torch.from_numpy(LEVELS) / 255).requires_grad_(), id="with a gradient"),
    ],
)
def test_one_picture_looks_the_same_in_every_form(data: Any) -> None:
    """Pillow, arrays and tensors, either order of axes, any range: one uint8 [H, W, C]."""
    image = image_of(data)
    assert image is not None
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, LEVELS)


def test_bfloat16_is_read_too() -> None:
    """A dtype that numpy does not know is no obstacle; it holds 8 bits, so a level may shift."""
    image = image_of((torch.from_numpy(LEVELS) / 255).bfloat16())
    assert image is not None
    assert np.abs(image.astype(int) - LEVELS).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        as_pillow(LEVELS[:, :, 0].copy()),
        LEVELS[:, :, 0],
        LEVELS[None, :, :, 0],
        torch.from_numpy(LEVELS[:, :, 0].copy()) / 255,
        (torch.from_numpy(LEVELS[:, :, 0].copy()) / 255)[None],
    ],
    ids=["pillow", "array [H, W]", "array [1, H, W]", "tensor [H, W]", "tensor [1, H, W]"],
)
def test_grey_has_one_channel(data: Any) -> None:
    """A grey image is [H, W, 1] whatever it was."""
    image = image_of(data)
    assert image is not None
    np.testing.assert_array_equal(image, LEVELS[:, :, :1])


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4), ("LA", 4), ("CMYK", 3), ("I;16", 1)],
)
def test_every_mode_of_pillow_is_an_image(mode: str, channels: int) -> None:
    """Grey modes have one channel, transparency is kept, and any other mode comes as RGB."""
    image = image_of(Image.new(mode, (6, 5)))
    assert image is not None
    assert image.shape == (5, 6, channels)


def test_where_both_ends_could_be_channels_the_kind_of_data_decides() -> None:
    """A tensor's channels come first and an array's last, as their libraries have it."""
    levels = np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4)
    of_array, of_tensor = image_of(levels), image_of(torch.from_numpy(levels))
    assert of_array is not None
    assert of_tensor is not None
    assert (of_array.shape, of_tensor.shape) == ((3, 5, 4), (5, 4, 3))


def test_a_mask_is_black_and_white() -> None:
    """False is 0 and True is 255."""
    image = image_of(np.array([[True, False]]))
    assert image is not None
    assert image[:, :, 0].tolist() == [[255, 0]]


def test_a_dark_image_stays_dark() -> None:
    """Levels are absolute wherever the range says what they mean: nothing is stretched."""
    dark = np.full((4, 4, 3), 10, np.uint8)
    for data in (dark, torch.from_numpy(dark) / 255, dark.astype(np.uint16) * 257):
        image = image_of(data)
        assert image is not None
        assert (image == 10).all()


def test_what_a_filter_overshoots_is_cut() -> None:
    """Resizing leaves -0.02 and 1.03 in an image of 0..1: they are black and white."""
    image = image_of(torch.tensor([[-0.02, 0.5, 1.03]]))
    assert image is not None
    assert image[:, :, 0].tolist() == [[0, 128, 255]]


def test_standardised_numbers_are_stretched_over_the_image() -> None:
    """Below zero there is no level, so the image's own minimum is 0 and its maximum 255."""
    image = image_of(torch.tensor([[-2.0, 0.0, 2.0]]))
    assert image is not None
    assert image[:, :, 0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((16, 32, 32)),
        np.zeros((2, 3, 8, 8)),
        np.zeros(100),
        np.zeros((0, 8, 3)),
        np.zeros((8, 8, 3), np.complex64),
        np.array([["a", "b"]]),
        "cat.png",
        7,
        None,
        [[0, 1], [1, 0]],
        {"image": LEVELS},
    ],
    ids=lambda data: f"{type(data).__name__} {getattr(data, 'shape', '')}",
)
def test_what_is_no_image_has_none(data: Any) -> None:
    """A volume, a batch, a vector, text and numbers are no image."""
    assert image_of(data) is None


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint16, np.bool_]),
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
    )
)
def test_any_numbers_make_an_image_of_the_same_shape(data: np.ndarray) -> None:
    """NaN, infinities and the largest numbers are levels like others; nothing raises or warns."""
    image = image_of(data)
    assert image is not None
    assert image.dtype == np.uint8
    assert image.size == data.size


@pytest.mark.parametrize("data", [LEVELS, torch.from_numpy(LEVELS.copy())], ids=["array", "tensor"])
def test_writing_into_the_image_leaves_the_sample_alone(data: Any) -> None:
    """The image is a copy, also where nothing had to be converted."""
    before = data.tolist()
    image = image_of(data)
    assert image is not None
    image[:] = 0
    assert data.tolist() == before


CLOUD = np.arange(40, dtype=np.float32).reshape(10, 4)
"""Ten points: x, y, z and an intensity."""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CLOUD, id="array"),
        pytest.param(torch.from_numpy(CLOUD), id="tensor"),
        pytest.param({"points": CLOUD}, id="points of a mapping"),
        pytest.param(type("Data", (), {"pos": torch.from_numpy(CLOUD)})(), id="pos of an object"),
    ],
)
def test_a_table_of_points_is_points(data: Any) -> None:
    """[N, K] with x, y, z first, as it came, and it is no image."""
    points = points_of(data)
    assert points is not None
    np.testing.assert_array_equal(points, CLOUD)
    assert image_of(data) is None


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((28, 28), np.float32),
        np.zeros((20, 10), np.uint8),
        np.zeros((20, 2), np.float32),
        np.zeros((5, 6, 3), np.float32),
        "cloud.ply",
        {"label": 3},
    ],
    ids=lambda data: f"{type(data).__name__} {getattr(data, 'shape', '')}",
)
def test_what_is_no_table_of_points_has_none(data: Any) -> None:
    """Small grey images, flat coordinates, pictures and text are no points."""
    assert points_of(data) is None


def test_writing_into_the_points_leaves_the_sample_alone() -> None:
    """The points are a copy."""
    cloud = CLOUD.copy()
    points = points_of(torch.from_numpy(cloud))
    assert points is not None
    points[:] = 0
    np.testing.assert_array_equal(cloud, CLOUD)
