"""Last values by number: whatever was missed or came early, an answer is right or there is none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger.history.recent import DEPTH
from weightslab.ledger.history.segments import Chunk
from weightslab.signals.trail import Numbers, Trail

PLACES = st.lists(st.integers(0, 5), min_size=0, max_size=6)
BATCHES = st.lists(st.tuples(PLACES, st.booleans()), max_size=60)


def pieces(batches: list[tuple[int, list[int]]]) -> list[tuple[object, Chunk]]:
    """What a ledger would hold of (step, places), values being step + 0.25 * place in it."""
    places = np.array([p for _, batch in batches for p in batch], np.int32)
    steps = np.array([s for s, batch in batches for _ in batch], np.int64)
    values = np.array([value(s, at) for s, batch in batches for at in range(len(batch))], float)
    columns = {"sample": places, "step": steps, "value": values}
    return [(None, Chunk("sample", {**columns, "launch": np.ones(len(places), np.int32)}))]


def value(step: int, at: int) -> float:
    return step + 0.0625 * at


@given(BATCHES, st.integers(0, 60), st.integers(0, 60), st.integers(0, DEPTH))
def test_history_has_what_came_before_and_nothing_else(
    batches: list[tuple[list[int], bool]], saved: int, begun: int, n: int
) -> None:
    """With a ledger that is ahead of the queue, items that are missed, and repeated places."""
    numbers = Numbers()
    numbered = [numbers.take(np.array(places, np.int32)) for places, _ in batches]
    trail = Trail(pieces([(step, places) for step, (places, _) in enumerate(batches[:saved])]), 1)
    before: dict[int, list[tuple[int, float]]] = {}
    for step, (places, missed) in enumerate(batches):
        rows = np.array(places, np.int32)
        if step >= min(begun, saved):  # when the trail was made, the queue had come this far
            found = trail.last(rows, numbered[step], n)
            for at, place in enumerate(places if found is not None else ()):
                assert found is not None
                have = int(found.counts[at])
                points = zip(found.steps[at].tolist(), found.values[at].tolist(), strict=True)
                assert list(points)[:have] == before.get(place, [])[-n:] * (n > 0)
            if not missed:
                values = np.array([value(step, at) for at in range(len(places))])
                trail.feed(rows, numbered[step], step, values)
        for at, place in enumerate(places):
            before.setdefault(place, []).append((step, value(step, at)))


def test_nothing_missed_means_an_answer_from_memory() -> None:
    """A trail that was fed everything answers for up to 32 values of every place."""
    numbers, trail = Numbers(), Trail([], 1)
    rows = np.array([3, 0, 3], np.int32)
    for step in range(50):
        earlier = numbers.take(rows)
        found = trail.last(rows, earlier, DEPTH)
        assert found is not None
        assert found.counts.tolist() == [min(2 * step, 32), min(step, 32), min(2 * step, 32)]
        trail.feed(rows, earlier, step, np.array([1.0, 2.0, 3.0], np.float32))


def test_what_was_missed_is_not_made_up() -> None:
    """Behind a gap there is no answer, until there are enough values after it."""
    trail = Trail([], 1)
    row = np.array([0], np.int32)
    number = np.array([0])
    trail.feed(row, number, 0, np.array([0.0]))
    trail.feed(row, number + 5, 5, np.array([5.0]))
    assert trail.last(row, number + 6, 2) is None
    found = trail.last(row, number + 6, 1)
    assert found is not None
    assert found.values.tolist() == [[5.0]]
