"""How many numbers a second the global curves take, beside appending to bare arrays.

Through the doors that a training loop has, a watched logger and `wl.save_signals`, with one
number a call and with several, and through the ledger alone.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from common import row, scratch_folder

import weightslab as wl

CALLS = 20_000
NAMES = 10


def rate(save: Callable[[int], object], *, each: int) -> float:
    """Scalars a second of `save(step)`, which saves `each`."""
    for step in range(100):
        save(step)
    start = time.perf_counter()
    for step in range(100, 100 + CALLS):
        save(step)
    return CALLS * each / (time.perf_counter() - start)


def floor_rate(each: int) -> float:
    """The bare work: a step and a value into arrays that grow."""
    columns = [(array("q"), array("d")) for _ in range(each)]

    def append(step: int) -> None:
        for steps, values in columns:
            steps.append(step)
            values.append(0.5)

    return rate(append, each=each)


def show(what: str, save: Callable[[int], object], *, each: int) -> None:
    """Print one door beside its floor."""
    floor, ours = floor_rate(each), rate(save, each=each)
    row(
        f"curves, {what}",
        f"{ours / 1e3:.0f}k scalars/s ({floor / ours:.0f}x)",
        floor=f"append to arrays {floor / 1e3:.0f}k scalars/s",
        goal="at least 200k scalars/s",
    )


class Silent:
    """A logger that keeps nothing: what is measured is what watching it adds."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Take a number, as TensorBoard's writer does."""


def main() -> None:
    """Print the rows of the curves, and see that every point came back."""
    many = {f"metric/{number}": 0.5 for number in range(NAMES)}
    with wl.Session("run") as session:
        logger = wl.watch_or_edit(Silent(), flag="logger")
        show("a watched logger", lambda s: logger.add_scalar("lr", 0.5, s), each=1)
        show("one number a call", lambda s: wl.save_signals({"one": 0.5}, None, step=s), each=1)
        show(f"{NAMES} numbers a call", lambda s: wl.save_signals(many, None, step=s), each=NAMES)
        bare = session.ledger.append_scalars
        fewer = {f"bare/{name}": value for name, value in many.items()}
        show(f"{NAMES} numbers, without the verb", lambda s: bare(fewer, step=s), each=NAMES)
    with wl.Session("run", mode="r"):
        found = len(wl.history(kind="global"))
    expected = (CALLS + 100) * (2 * NAMES + 2)
    if found != expected:
        raise AssertionError(f"{expected} points were saved, {found} came back")


if __name__ == "__main__":
    with scratch_folder():
        main()
