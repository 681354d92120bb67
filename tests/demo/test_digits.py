"""The demo's data."""

from __future__ import annotations

import numpy as np
import pytest

from weightslab.demo.digits import load, plant


def test_the_planted_errors_are_the_same_every_time() -> None:
    """5 % of the labels are flipped, the same ones in every run."""
    first, second = load(), load()
    assert int(first.planted.sum()) == round(0.05 * 1797) == 90
    assert np.array_equal(first.given, second.given)


@pytest.mark.parametrize("flipped", [0.0, 0.1, 1.0])
def test_a_flipped_label_is_never_the_true_one(flipped: float) -> None:
    """Exactly the share that was asked for changes, and stays within the classes."""
    true = np.arange(1000) % 10
    given = plant(true, flipped=flipped, seed=3)
    assert int((given != true).sum()) == round(flipped * 1000)
    assert set(given) <= set(range(10))


def test_images_are_ink_in_0_to_1() -> None:
    """Pixels are scaled, in 32 bits, one 8 x 8 picture for each label."""
    digits = load()
    assert digits.images.shape == (len(digits), 8, 8)
    assert digits.images.dtype == np.float32
    assert (digits.images.min(), digits.images.max()) == (0, 1)
