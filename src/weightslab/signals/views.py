"""What a signal's function sees of a sample: `ctx.image` and `ctx.points`.

One layout and one range, so that a function for brightness, blue pixels or sharpness is
written once and runs on every dataset. Pillow images, numpy arrays and tensors are known
by what they can do: neither torch nor Pillow is imported here.

Shapes: H x W pixels, C channels (1 to 4), N points, K columns.

    data                                    image_of, uint8 [H, W, C]
    --------------------------------------  -----------------------------------------------
    Pillow image                            grey -> C = 1; RGB, RGBA; any other mode as RGB
    array or tensor [H, W]                  C = 1, unless it is a table of points
    [H, W, C] or [C, H, W], C from 1 to 4   channels last; where both ends could be channels,
                                            those of a tensor come first, of an array last
    anything else (volumes, text, ...)      None
    bool                                    False, True -> 0, 255
    uint8                                   as it is
    uint16                                  0 .. 65535 -> 0 .. 255
    floats within -0.1 .. 1.1               0 .. 1 -> 0 .. 255, what lies beyond is cut
    other numbers within 0 .. 255           as they are, rounded
    other numbers                           the image's own minimum .. maximum -> 0 .. 255

The last line holds for standardised tensors (mean 0, variance 1): their absolute brightness
is gone already, so only contrast within the image is left to see. `ctx.data` is untouched.

    data                                    points_of, [N, K]
    --------------------------------------  -----------------------------------------------
    array or tensor [N, K], K from 3 to 10, the numbers as they are (x, y, z, then what a
    N > K, of any numbers but uint8         sensor adds: intensity, colour, normals)
    a mapping's or an object's points, pos  the same of that
    anything else                           None

What is a table of points is no image. Both are copies: a function may write into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Image", "image_of", "points_of"]

Array: TypeAlias = npt.NDArray[Any]
Image: TypeAlias = npt.NDArray[np.uint8]

MOST_CHANNELS = 4
POINT_COLUMNS = range(3, 11)
POINT_FIELDS = ("points", "pos")
PLAIN_MODES = ("L", "RGB", "RGBA")
NUMBER_MODES = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")
SLACK = 0.1
"""What resizing filters overshoot."""


def image_of(data: Any) -> Image | None:
    """The image that `data` is, uint8 [H, W, C] in 0..255, else None.

    The module's docstring has the rules. The array is new and contiguous.
    """
    pixels, is_tensor = _pixels(data)
    if pixels is None or pixels.size == 0 or pixels.dtype.kind not in "biuf":
        return None
    if pixels.ndim == 2:
        return None if _is_points(pixels) else _levels(pixels)[:, :, None]
    if pixels.ndim != 3:
        return None
    first, last = (pixels.shape[end] <= MOST_CHANNELS for end in (0, -1))
    if first and (is_tensor or not last):
        return np.stack(list(_levels(pixels)), axis=-1)  # three times as fast as moving the axis
    return _levels(pixels) if last else None


def points_of(data: Any) -> Array | None:
    """The points that `data` is or holds, [N, K] with x, y and z first, else None.

    The module's docstring has the rules. The array is new, its numbers are as they came.
    """
    table = _array_of(data)
    if table is None:
        table = _array_of(_point_field(data))
    if table is None or not _is_points(table):
        return None
    return table.copy()


def _point_field(data: Any) -> Any:
    for name in POINT_FIELDS:
        found = data.get(name) if isinstance(data, Mapping) else getattr(data, name, None)
        if found is not None:
            return found
    return None


def _is_points(table: Array) -> bool:
    if table.ndim != 2 or table.dtype.kind not in "iuf" or table.dtype == np.uint8:
        return False
    count, columns = table.shape
    return columns in POINT_COLUMNS and count > columns


def _pixels(data: Any) -> tuple[Array | None, bool]:
    """The numbers of an image, and whether channels are expected to come first."""
    mode = getattr(data, "mode", None)
    if isinstance(mode, str) and callable(getattr(data, "convert", None)):
        return np.asarray(_plain(data, mode)), False
    return _array_of(data), hasattr(data, "detach")


def _plain(image: Any, mode: str) -> Any:
    """A Pillow image in a mode whose numbers mean what they say."""
    if mode in PLAIN_MODES or mode in NUMBER_MODES:
        return image
    if mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if mode in ("LA", "La", "PA", "RGBa") else "RGB")


def _array_of(data: Any) -> Array | None:
    """An array's or a tensor's numbers, of any device and dtype; None for anything else."""
    if isinstance(data, np.ndarray):
        return data
    if callable(getattr(data, "detach", None)):
        tensor = data.detach().cpu()
        try:
            numbers: Array = tensor.numpy()
        except TypeError:  # bfloat16, which numpy does not know
            numbers = tensor.float().numpy()
        return numbers
    if hasattr(data, "__array__") and hasattr(data, "shape"):
        return np.asarray(data)
    return None


def _levels(pixels: Array) -> Image:
    """Numbers as levels from 0 to 255; a new array of the same shape."""
    if pixels.dtype == np.uint8:
        return np.array(pixels, np.uint8, order="C")
    if pixels.dtype.kind == "b":
        return np.array(pixels, np.uint8, order="C") * np.uint8(255)
    with np.errstate(all="ignore"):  # infinities, and ranges beyond what a float holds
        return _scaled(pixels)


def _scaled(pixels: Array) -> Image:
    small = pixels.dtype.kind == "f" and pixels.dtype.itemsize <= 4
    levels: npt.NDArray[np.floating] = np.array(
        pixels, np.float32 if small else np.float64, order="C"
    )
    if pixels.dtype == np.uint16:
        levels *= 255 / 65535
    else:
        low, high = float(levels.min()), float(levels.max())
        if not np.isfinite(low - high):
            finite = levels[np.isfinite(levels)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0, 1)
            np.nan_to_num(levels, copy=False, nan=low, posinf=high, neginf=low)
        if pixels.dtype.kind == "f" and low >= -SLACK and high <= 1 + SLACK:
            levels *= 255
        elif low < 0 or high > 255:
            levels -= low
            levels *= 255 / ((high - low) or 1)
            np.nan_to_num(levels, copy=False, nan=0, posinf=255, neginf=0)
    np.rint(levels, out=levels)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)
