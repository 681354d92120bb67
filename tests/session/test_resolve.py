"""Ids that come with values."""

from __future__ import annotations

import pytest

import weightslab as wl


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
@pytest.mark.parametrize("ids", [["a", "b"], ["b", "a"], ["b"]])
def test_an_id_that_was_tagged_before_it_was_seen_appears_with_its_first_value(
    ids: list[str],
) -> None:
    """A tagged id becomes visible with its first value, also beside ids that are quite new."""
    wl.tag_samples(["b"], "hard")
    wl.save_signals({"loss": [1.0] * len(ids)}, ids)
    assert sorted(wl.samples()["sample_id"]) == sorted(ids)
    assert wl.get_samples_by_tag("hard") == ["b"]
