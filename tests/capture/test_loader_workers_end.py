"""Workers of a watched loader end with it, as those of a plain one do."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.session import current

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    """Nothing is freed but by its count of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def made() -> DataLoader[Any]:
    data = TensorDataset(torch.arange(8.0), torch.zeros(8))
    return DataLoader(data, batch_size=2, num_workers=2, persistent_workers=True)


def watched() -> DataLoader[Any]:
    return wl.watch_or_edit(made(), flag="data", loader_name="train")


def workers_of(loader: DataLoader[Any]) -> list[int]:
    return [worker.pid for worker in loader._iterator._workers]  # type: ignore[union-attr]


def all_end(workers: list[int]) -> bool:
    ends = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < ends:
        time.sleep(0.01)
    return not any(Path(f"/proc/{pid}").exists() for pid in workers)


def _replaced() -> None:
    wl.watch_or_edit(made(), flag="data", loader_name="train")


LETS_GO: dict[str, Callable[[], None]] = {
    "replaced": _replaced,
    "closed": lambda: current().close(),
    "reset": wl.reset,
}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("by", LETS_GO)
@pytest.mark.parametrize("broken_off", [False, True])
def test_a_loader_that_nobody_holds_ends_its_workers(by: str, broken_off: bool) -> None:
    """Without the cyclic collector: the session lets go of it, then its last holder."""
    loader = watched()
    for _ in loader:
        if broken_off:
            break
    workers = workers_of(loader)
    assert workers
    LETS_GO[by]()
    del loader
    assert all_end(workers)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked up in /proc")
def test_as_a_plain_loader_does() -> None:
    """What is asked of ours is what torch's own does."""
    loader = made()
    for _ in loader:
        pass
    workers = workers_of(loader)
    del loader
    assert all_end(workers)


def test_a_loader_goes_on_when_its_session_has_closed() -> None:
    """Whoever still holds it draws every batch."""
    loader = watched()
    assert len(list(loader)) == 4
    current().close()
    assert len(list(loader)) == 4
