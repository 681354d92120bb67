"""Small grey pictures for a terminal, drawn with characters.

Two rows of pixels make one row of text, since a character is about twice as
high as it is wide. Shapes: H x W pixels in 0..1, H even.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

__all__ = ["Ink", "draw"]

_HALF = "▀"
_RESET = "\x1b[0m"


class Ink(Enum):
    """What a terminal can show, from the best to the plainest."""

    COLOUR = "half blocks, two grey levels each, as ANSI sequences"
    SHADES = " ░▒▓█"
    ASCII = " .:-=+*#%@"


def draw(image: npt.NDArray[np.floating], ink: Ink) -> str:
    """`image` [H, W] as H / 2 lines of W characters; 1 is full ink, NaN is none."""
    levels = np.clip(np.nan_to_num(image), 0, 1)
    if ink is Ink.COLOUR:
        pairs = zip(levels[::2], levels[1::2], strict=True)
        return "\n".join(_half_blocks(upper, lower) for upper, lower in pairs)
    halved = levels.reshape(len(levels) // 2, 2, -1).mean(axis=1)
    return "\n".join(_ramp(row, ink.value) for row in halved)


def _ramp(row: npt.NDArray[np.floating], ramp: str) -> str:
    return "".join(ramp[round(float(level) * (len(ramp) - 1))] for level in row)


def _half_blocks(upper: npt.NDArray[np.floating], lower: npt.NDArray[np.floating]) -> str:
    cells = (
        f"\x1b[38;2;{_grey(top)};48;2;{_grey(bottom)}m{_HALF}"
        for top, bottom in zip(upper, lower, strict=True)
    )
    return "".join(cells) + _RESET


def _grey(level: float) -> str:
    value = round(float(level) * 255)
    return f"{value};{value};{value}"
