"""The experiment hash, when several processes write to one folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.session.experiment import Experiment
from weightslab.session.registry import Registry

STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)


def digits(ledger: Ledger) -> str:
    """Those of the discarded samples, as this process finds them."""
    experiment = Experiment()
    ledger._others.look()
    experiment.follow(Registry(), ledger)
    assert experiment.hash is not None
    return experiment.hash[16:]


def test_every_process_has_the_same_digits_for_the_same_discards(tmp_path: Path) -> None:
    """Ranks with a shard each and a client come to one hash, and to that of a single process."""
    ranks = [Ledger(tmp_path / "run", rank=rank, options=STILL) for rank in (0, 1)]
    client = Ledger(tmp_path / "run", options=STILL)
    shards = [
        ledger.ids.add([f"{shard}{n}" for n in range(4)], "train")
        for ledger, shard in zip(ranks, "ab", strict=True)
    ]
    bare = digits(ranks[0])
    ranks[0].edit.discard(shards[0][:2], True)
    ranks[1].edit.discard(shards[1][:2], True)
    client.edit.discard(client.ids.add(["a0", "b3"], "train"), False)
    client.edit.discard(client.ids.add(["b3", "c9"], None), True)
    alone = Ledger(tmp_path / "alone", options=STILL)
    alone.edit.discard(alone.ids.add(["a1", "b0", "b1", "b3", "c9"], "train"), True)
    found = {digits(ledger) for ledger in (*ranks, client, alone)}
    assert len(found) == 1
    assert bare == "0" * 8 not in found
    for ledger in (*ranks, client, alone):
        ledger.close()
    again = Ledger(tmp_path / "run", rank=5, options=STILL)
    assert {digits(again)} == found
    again.close()


def test_the_digits_follow_what_appears_and_is_restored(tmp_path: Path) -> None:
    """An id that only others knew keeps its digits when it appears here, until it is restored."""
    training, client = (Ledger(tmp_path, options=STILL) for _ in range(2))
    experiment, registry = Experiment(), Registry()

    def follow() -> str:
        training._others.look()
        experiment.follow(registry, training)
        assert experiment.hash is not None
        return experiment.hash[16:]

    bare = follow()
    row = client.ids.add(["x"], "train")
    client.edit.discard(row, True)
    unknown = follow()
    training.ids.add(["x"], "train")
    assert follow() == unknown != bare
    assert training.edit.discard(np.zeros(1, np.int32), False) == 1
    assert follow() == bare
    client.close()
    training.close()
