"""Pictures made of characters."""

from __future__ import annotations

import numpy as np
import pytest

from weightslab.demo.thumbnails import Ink, draw

GRADIENT = np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize(("ink", "line"), [(Ink.SHADES, " ▒█"), (Ink.ASCII, " =@")])
def test_darker_pixels_get_denser_characters(ink: Ink, line: str) -> None:
    """Two rows of pixels become one line, from blank to full."""
    assert draw(GRADIENT, ink).replace("+", "=") == line


def test_colour_shows_both_rows() -> None:
    """A half block carries the upper pixel as its colour, the lower one as its background."""
    assert draw(np.array([[0.0], [1.0]]), Ink.COLOUR) == "\x1b[38;2;0;0;0;48;2;255;255;255m▀\x1b[0m"


@pytest.mark.parametrize("ink", list(Ink))
def test_values_beyond_the_range_are_drawn(ink: Ink) -> None:
    """NaN, infinities and values outside 0..1 draw as none or full ink."""
    wild = np.array([[np.nan, np.inf, -np.inf, 7.0], [np.nan, np.inf, -np.inf, 7.0]])
    tame = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    assert draw(wild, ink) == draw(tame, ink)
