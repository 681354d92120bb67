"""Small grey pictures for a terminal, drawn with characters.

Two rows of pixels make one row of text, since a character is about twice as
high as it is wide. Shapes: H x W pixels in 0..1, H even.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Ink", "draw", "ink_of"]

_SHADES = " ░▒▓█"
_LETTERS = " .:-=+*#%@"
_HALF = "▀"


class Ink(Enum):
    """What a terminal can show."""

    COLOUR = "half blocks in two grey levels each"
    SHADES = "block characters, no colour"
    LETTERS = "plain ASCII"


def ink_of(console: Console) -> Ink:
    """The best ink that `console` shows."""
    if not console.encoding.lower().startswith("utf"):
        return Ink.LETTERS
    coloured = console.is_terminal and console.color_system in {"256", "truecolor"}
    return Ink.COLOUR if coloured and not console.no_color else Ink.SHADES


def draw(image: npt.NDArray[np.floating], ink: Ink) -> Text:
    """`image` [H, W] as H / 2 lines of W characters; 1 is full ink."""
    from rich.text import Text

    levels = np.clip(np.nan_to_num(image), 0, 1)
    if ink is Ink.COLOUR:
        return _half_blocks(levels)
    pairs = levels.reshape(len(levels) // 2, 2, -1).mean(axis=1)
    return Text("\n".join(_ramp(row, _SHADES if ink is Ink.SHADES else _LETTERS) for row in pairs))


def _ramp(row: npt.NDArray[np.floating], ramp: str) -> str:
    return "".join(ramp[round(float(level) * (len(ramp) - 1))] for level in row)


def _half_blocks(levels: npt.NDArray[np.floating]) -> Text:
    from rich.text import Text

    text = Text()
    for top in range(0, len(levels), 2):
        if top:
            text.append("\n")
        for upper, lower in zip(levels[top], levels[top + 1], strict=True):
            text.append(_HALF, style=f"{_grey(upper)} on {_grey(lower)}")
    return text


def _grey(level: float) -> str:
    value = round(float(level) * 255)
    return f"#{value:02x}{value:02x}{value:02x}"
