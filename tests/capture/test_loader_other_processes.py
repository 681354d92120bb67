"""Discards that another process makes, in the middle of an epoch of this one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.data import DataLoader

import weightslab as wl
from tests.capture.oracles import Numbers, Stream, item_name, watch
from tests.ledger.support import run_script
from weightslab.ledger import Ledger
from weightslab.session import Session

CLIENT = """
import sys, weightslab as wl
root, restore, *ids = sys.argv[1:]
with wl.Session(root) as session:
    if restore == "restore":
        assert wl.discard_samples(ids, discarded=False) == len(ids)
    else:
        assert wl.discard_samples(ids) == len(ids)
    assert session.ledger.writer == "0-1"
"""


def client(root: Path, what: str, *ids: str) -> None:
    """Another process opens the folder, edits and goes."""
    ended = run_script(CLIENT, root, what, *ids, path=True)
    assert ended.returncode == 0, ended.stderr


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_a_discard_by_a_client_reaches_the_running_epoch(tmp_path: Path) -> None:
    """What a client leaves out is not drawn any more; what it restores is drawn again."""
    with Session(tmp_path) as session:
        loader = watch(DataLoader(Numbers(), batch_size=5))
        batches = iter(loader)
        drawn = next(batches)[0].flatten().tolist()
        client(tmp_path, "discard", "train/9", "train/12", "train/0")
        wait_until(lambda: session.ledger.discarded.count == 3)
        for values, *_ in batches:
            drawn += values.flatten().tolist()
        assert drawn == [n for n in range(20) if n not in (9, 12)]
        client(tmp_path, "restore", "train/9", "train/0")
        wait_until(lambda: session.ledger.discarded.count == 1)
        again = [n for values, *_ in loader for n in values.flatten().tolist()]
        assert again == [n for n in range(20) if n != 12]
        assert wl.get_discarded_samples() == ["train/12"]
        # Here it was discarded by another; here it is restored.
        assert wl.discard_samples(["train/12"], discarded=False) == 1
        assert wl.get_discarded_samples() == []
        assert len([n for values, *_ in loader for n in values.flatten().tolist()]) == 20


def test_a_discard_by_a_client_opens_a_new_hash(tmp_path: Path) -> None:
    """The training goes on under the hash that its own discard of the same sample would give."""
    with Session(tmp_path / "run") as session:
        wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
        before = wl.get_current_experiment_hash()
        client(tmp_path / "run", "discard", "a")
        wait_until(lambda: session.ledger.discarded.count == 1)
        wl.save_signals({"loss": [1.0]}, ["b"], step=1)
        by_client = wl.get_current_experiment_hash()
    with Session(tmp_path / "alone"):
        wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
        wl.discard_samples(["a"])
        wl.save_signals({"loss": [1.0]}, ["b"], step=1)
        assert wl.get_current_experiment_hash() == by_client != before


def test_a_stream_leaves_out_what_only_a_client_has_named(tmp_path: Path) -> None:
    """An item that no batch has brought yet is left out by the id that a client discarded."""
    with Session(tmp_path) as session:
        other = Ledger(session.ledger.root)
        other.edit.discard(other.ids.add(["n3"], "train"), True)
        wait_until(lambda: session.ledger.discarded.elsewhere == {"n3"})
        loader = watch(DataLoader(Stream(6), batch_size=2), id_fn=item_name)
        drawn = [n for values, *_ in loader for n in values.flatten().tolist()]
        assert drawn == [0, 1, 2, 4, 5]
        other.close()
