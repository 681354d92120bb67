from __future__ import annotations

import threading
from collections.abc import Callable

from weightslab.evaluation.whereabouts import Whereabouts


def elsewhere(act: Callable[[], object]) -> None:
    """Do it on another thread, which is over then."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


class Other:
    """A thread that does what it is told, and lives."""

    def __init__(self) -> None:
        self._told: list[Callable[[], object]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def does(self, act: Callable[[], object]) -> None:
        with self._changed:
            self._told.append(act)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._told, 10)

    def asked(self, question: Callable[[], bool]) -> bool:
        answers: list[bool] = []
        self.does(lambda: answers.append(question()))
        return answers[0]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._told)
                self._told[0]()
                self._told.clear()
                self._changed.notify_all()


def test_where_nothing_was_seen_training_is_here() -> None:
    """Before the first step any thread may be that of the training."""
    where = Whereabouts()
    assert not (where.steps_elsewhere or where.may_only_draw or where.is_elsewhere)


def test_a_step_on_another_thread_that_lives_is_elsewhere() -> None:
    """What a thread did that is over says nothing about the training of now."""
    where, other = Whereabouts(), Other()
    elsewhere(where.stepped)
    assert not (where.steps_elsewhere or where.is_elsewhere)
    other.does(where.stepped)
    assert where.steps_elsewhere and where.is_elsewhere
    assert not other.asked(lambda: where.steps_elsewhere or where.is_elsewhere)


def test_a_thread_that_is_only_seen_to_draw_may_read_ahead() -> None:
    """From its second batch on, until it saves a value or steps; the main thread trains."""
    where, other = Whereabouts(), Other()
    other.does(where.draws)
    assert not other.asked(lambda: where.may_only_draw)
    other.does(where.draws)
    assert other.asked(lambda: where.may_only_draw)
    where.saved()
    assert other.asked(lambda: where.may_only_draw)
    other.does(where.saved)
    assert not other.asked(lambda: where.may_only_draw)
    where.draws()
    where.draws()
    assert not where.may_only_draw


def test_who_draws_here_trains_here_whoever_saves() -> None:
    """A thread that writes a log beside the training does not take its safe points."""
    where, other = Whereabouts(), Other()
    where.draws()
    other.does(where.saved)
    assert not where.is_elsewhere and not where.may_only_draw
    assert not where.reads_ahead


def test_batches_drawn_beside_the_steps_are_read_ahead() -> None:
    """The thread that steps is another than the one that draws."""
    where, other = Whereabouts(), Other()
    other.does(where.draws)
    where.stepped()
    assert where.reads_ahead
    where.draws()
    assert not where.reads_ahead
