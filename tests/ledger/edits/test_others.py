"""What other writers of the folder edit, as it reaches one that lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.support import FailingFiles, run_script
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.journal import JournalEntry
from weightslab.ledger.edits.others import Others
from weightslab.queries.samples import discarded_ids, samples_frame, tagged_ids

QUICK = LedgerOptions(sync_interval_s=0.02)
STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)
"""Nothing happens by itself."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Ledger, Ledger]]:
    """Two writers of one folder that know the same ten samples and look often."""
    first, second = Ledger(tmp_path / "run", options=QUICK), Ledger(tmp_path / "run", options=QUICK)
    for ledger in (first, second):
        ledger.register("train", range(10))
    yield first, second
    first.close()
    second.close()


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def hidden(ledger: Ledger) -> list[str]:
    """Ids that a loader of this ledger would leave out."""
    everything = np.arange(len(ledger.ids), dtype=np.int32)
    return ledger.ids.names(everything[ledger.discarded.of(everything)])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_a_discard_of_another_writer_arrives(two: tuple[Ledger, Ledger]) -> None:
    """Discards and restores of one writer are in the other's view, its count and its version."""
    first, second = two
    version = first.discarded.version
    second.edit.discard(rows(3, 4), True)
    wait_until(lambda: hidden(first) == ["train/3", "train/4"])
    assert first.discarded.count == 2
    assert first.discarded.row(3)
    assert not first.discarded.row(5)
    assert first.discarded.version > version
    version = first.discarded.version
    second.edit.discard(rows(3), False)
    wait_until(lambda: hidden(first) == ["train/4"])
    assert (first.discarded.count, first.discarded.version > version) == (1, True)


def test_what_is_discarded_stays_so_while_nobody_edits(two: tuple[Ledger, Ledger]) -> None:
    """Looking costs nothing while no beacon changes: the version stands still."""
    first, second = two
    second.edit.discard(rows(3), True)
    wait_until(lambda: hidden(first) == ["train/3"])
    version = first.discarded.version
    values = np.ones(10, np.float32)
    for step in range(5):
        second.append_samples({"loss": values}, rows(*range(10)), step=step)
        second.flush()
        first._others.tick()
    assert first.discarded.version == version


def test_one_writer_restores_what_another_discarded(two: tuple[Ledger, Ledger]) -> None:
    """An edit is compared with what all writers made of a sample, and undoes another's."""
    first, second = two
    assert second.edit.discard(rows(1, 2), True) == 2
    assert first.edit.discard(rows(2, 3), True) == 1
    assert first.edit.discard(rows(1), False) == 1
    wait_until(lambda: hidden(second) == ["train/2", "train/3"])
    assert hidden(first) == ["train/2", "train/3"]


def test_one_writer_takes_off_what_another_put_on(two: tuple[Ledger, Ledger]) -> None:
    """Tags and categories of others are known, counted as changes, and can be taken off."""
    first, second = two
    second.edit.tag(rows(1, 2), "hard", True)
    second.edit.categorize(rows(1, 2), "weather", "rainy")
    assert first.edit.tag(rows(1), "hard", False) == 1
    assert first.edit.tag(rows(2), "hard", True) == 0
    assert first.edit.categorize(rows(1), "weather", None) == 1
    assert first.edit.categorize(rows(2), "weather", "rainy") == 0
    assert first.tags() == ["hard"]
    assert first.categories() == {"weather": ["rainy"]}
    table = samples_frame(Ledger(first.root, mode="r")).sort("sample_id")
    assert table["tag:hard"].to_list()[1:3] == [False, True]
    assert table["tag:weather"].to_list()[1:3] == [None, "rainy"]


def test_the_journal_says_what_another_writers_edit_was_replaced_by(tmp_path: Path) -> None:
    """`previous` of an entry is what all writers had made of a sample, in own codes."""
    first, second = (Ledger(tmp_path, options=STILL) for _ in range(2))
    for ledger in (first, second):
        ledger.register("train", range(3))
    second.edit.register_category("w", ["a", "b", "c"])
    second.edit.categorize(rows(0, 1), "w", "c")
    first.edit.categorize(rows(1, 2), "w", "b")
    entry = journal(first)[-1]
    known = first._store.samples.categories["w"].categories
    assert (entry.rows.tolist(), entry.value) == ([1, 2], "b")
    assert [known[entry.previous[0]], entry.previous[1]] == ["c", -1]
    first.close()
    second.close()


def journal(ledger: Ledger) -> list[JournalEntry]:
    return ledger._store.pending.journal


def test_an_edit_of_an_unknown_id_applies_when_it_appears(two: tuple[Ledger, Ledger]) -> None:
    """What another writer discarded is left out as soon as its sample has a row here."""
    first, second = two
    second.edit.discard(second.ids.add(["a", "b", "c"], "train"), True)
    second.edit.discard(second.ids.add(["b"], "train"), False)
    wait_until(lambda: first.discarded.elsewhere == {"a", "c"})
    first.ids.add(["a", "b"], "train")
    wait_until(lambda: hidden(first) == ["a"])
    assert first.discarded.elsewhere == {"c"}
    first.ids.rename(rows(0), ["c"])
    wait_until(lambda: hidden(first) == ["c", "a"])
    assert first.discarded.elsewhere == frozenset()


def test_an_edit_of_a_place_applies_when_the_loader_is_registered(tmp_path: Path) -> None:
    """A client that discards before the training knows its data reaches the first batch."""
    training = Ledger(tmp_path, options=STILL)
    client = Ledger(tmp_path, options=STILL)
    client.edit.discard(client.ids.add(["train/2"], None), True)
    registered = training.register("train", range(4))
    assert training.discarded.of(registered).tolist() == [False, False, True, False]
    client.close()
    training.close()


def test_a_place_that_has_got_a_name_is_the_same_sample(tmp_path: Path) -> None:
    """A client that says "train/1" means the sample that the training meanwhile calls otherwise."""
    training = Ledger(tmp_path, options=STILL)
    client = Ledger(tmp_path, options=STILL)
    training.ids.rename(training.register("train", range(4))[1:2], ["img_1"])
    client.edit.discard(client.ids.add(["train/1"], "train"), True)
    training._others.look()
    assert hidden(training) == ["img_1"]
    assert "img_1" in discarded_ids(Ledger(tmp_path, mode="r"), None)
    client.close()
    training.close()


@pytest.mark.parametrize("undone", [False, True])
def test_an_own_edit_that_waited_for_its_sample_is_not_newer_for_it(
    tmp_path: Path, undone: bool
) -> None:
    """What this writer discarded before its sample appeared stays restored where others did so."""
    first, second = (Ledger(tmp_path, options=STILL) for _ in range(2))
    first.edit.discard(first.ids.add(["train/2"], None), True)
    if undone:
        assert second.edit.discard(second.ids.add(["train/2"], "train"), False) == 1
    first.register("train", range(4))
    expected = [] if undone else ["train/2"]
    assert hidden(first) == expected
    first.close()
    second.close()
    assert discarded_ids(Ledger(tmp_path, mode="r"), None) == expected
    again = Ledger(tmp_path, options=STILL)
    assert hidden(again) == expected
    again.close()


def test_what_others_edited_is_not_written_as_ones_own(tmp_path: Path) -> None:
    """Snapshots and journal of a writer hold what it edited itself, and no more."""
    first, second = (Ledger(tmp_path, options=STILL) for _ in range(2))
    for ledger in (first, second):
        ledger.register("train", range(4))
    second.edit.discard(rows(1), True)
    first.edit.discard(rows(2), True)
    assert hidden(first) == ["train/1", "train/2"]
    first.close()
    alone = Ledger(tmp_path, mode="r")
    (own,) = [view.store for view in alone.views() if view.writer == "0-0"]
    assert np.flatnonzero(own.samples.discarded).tolist() == [2]
    second.close()


def test_edits_of_others_are_there_when_a_folder_is_opened(tmp_path: Path) -> None:
    """A writer that opens the folder knows every edit before its first batch, dead writers' too."""
    first, second = (Ledger(tmp_path, options=STILL) for _ in range(2))
    for ledger in (first, second):
        ledger.register("train", range(4))
    first.edit.discard(rows(0, 1), True)
    second.edit.discard(rows(1), False)
    second.edit.discard(rows(3), True)
    first.close()
    second.close()
    again = Ledger(tmp_path, options=STILL)
    assert again.writer == "0-0"
    assert hidden(again) == ["train/0", "train/3"]
    again.close()


def test_the_tables_agree_with_what_the_loaders_leave_out(two: tuple[Ledger, Ledger]) -> None:
    """`discarded_ids`, `tagged_ids` and the sample table show every process the merged state."""
    first, second = two
    first.edit.discard(rows(1, 2, 3), True)
    second.edit.discard(rows(2), False)
    second.edit.tag(rows(4), "hard", True)
    first.flush()
    first.edit.discard(rows(5), True)
    expected = ["train/1", "train/3", "train/5"]
    wait_until(lambda: hidden(first) == hidden(second) == expected)
    wait_until(lambda: discarded_ids(second, None) == expected)
    wait_until(lambda: tagged_ids(first, "hard", None) == ["train/4"])
    assert discarded_ids(first, None) == expected
    assert discarded_ids(Ledger(first.root, mode="r"), None) == expected


def test_an_edit_by_a_writer_that_has_seen_no_sample_is_in_the_tables(tmp_path: Path) -> None:
    """A client that only knows an id has a say in every table."""
    training, client = (Ledger(tmp_path, options=STILL) for _ in range(2))
    training.register("train", range(3))
    client.edit.discard(client.ids.add(["train/1"], None), True)
    client.edit.tag(client.ids.add(["train/2"], None), "hard", True)
    folder = Ledger(tmp_path, mode="r")
    assert discarded_ids(folder, None) == ["train/1"]
    assert tagged_ids(folder, "hard", None) == ["train/2"]
    training.close()
    client.close()


def test_an_edit_that_the_disk_refused_is_announced_when_it_is_written(tmp_path: Path) -> None:
    """An edit made while the disk refuses reaches others once it is in a file."""
    files = FailingFiles()
    first = Ledger(tmp_path, options=QUICK)
    second = Ledger(tmp_path, options=QUICK, files=files)
    for ledger in (first, second):
        ledger.register("train", range(4))
    second.flush()
    files.broken = True
    second._writer.gap = True
    second.edit.discard(rows(1), True)
    first._others.look()
    assert hidden(first) == []
    files.broken = False
    second.flush()
    wait_until(lambda: hidden(first) == ["train/1"])
    first.close()
    second.close()


def test_an_own_edit_while_the_first_of_another_is_merged_counts(tmp_path: Path) -> None:
    """What this process edits while its journal is read for the merging is in the merged state."""
    first, second = (Ledger(tmp_path, options=STILL) for _ in range(2))
    for ledger in (first, second):
        ledger.register("train", range(4))
    first.edit.discard(rows(0), True)
    first.flush()
    (held,) = first.layout.journal("0-0").iterdir()
    held.write_bytes(b"damaged")
    second.edit.discard(rows(1), True)

    troubles: list[Exception] = []

    def edit_meanwhile(path: str, _: OSError) -> None:
        if path == str(held):
            others.take_own(
                JournalEntry(99, 99, 0, 0, "me", "discard", None, "true", rows(2), rows(0))
            )

    others = Others(first.layout, first._store, lambda: "0-0", edit_meanwhile, troubles.append)
    others.look()
    assert troubles == []
    assert others.merged is not None
    assert others.merged.discards.at(rows(0, 1, 2, 3)).tolist() == [True, True, True, False]
    first.close()
    second.close()


def test_a_discarded_sample_that_gets_its_name_later_is_found_under_it(
    two: tuple[Ledger, Ledger],
) -> None:
    """Discarded as a place that this process does not have, then named: the name is looked for."""
    first, second = two
    far = second.register("val", range(3))
    first.ids.add(["img_1"], "val")
    second.edit.discard(far[1:2], True)
    wait_until(lambda: first.discarded.elsewhere == {"val/1"})
    second.ids.rename(far[1:2], ["img_1"])
    wait_until(lambda: hidden(first) == ["img_1"])
    assert first.discarded.elsewhere == frozenset()


def test_a_new_id_without_news_leaves_the_version_alone(two: tuple[Ledger, Ledger]) -> None:
    """While edits of unknown samples wait, new samples do not make every loader look again."""
    first, second = two
    second.edit.discard(second.ids.add(["a"], "train"), True)
    wait_until(lambda: first.discarded.elsewhere == {"a"})
    version = first.discarded.version
    first.ids.add(["b"], "train")
    first._others.look()
    assert first.discarded.version == version


def test_a_writer_that_cannot_be_read_hides_no_other_and_ends_no_edit(tmp_path: Path) -> None:
    """What stands in the way of reading one writer is said once; edits go on, others are read."""
    ledger, other = (Ledger(tmp_path, options=STILL) for _ in range(2))
    for one in (ledger, other):
        one.register("train", range(4))
    (tmp_path / "_wal" / "0-00" / "000001.wal").mkdir(parents=True)
    other.edit.discard(rows(2), True)
    assert ledger.edit.discard(rows(0), True) == 1
    assert ledger.edit.tag(rows(0), "t", True) == 1
    said = [m for m in ledger.notices.messages() if "other processes" in m]
    assert len(said) == 1
    assert hidden(ledger) == ["train/0", "train/2"]
    ledger.close()
    other.close()


def test_lost_ids_of_another_writer_hide_nothing_else(tmp_path: Path) -> None:
    """Edits of samples whose ids a disk has lost are passed over, those of others are merged."""
    ledger, other = (Ledger(tmp_path, options=STILL) for _ in range(2))
    ledger.ids.add(["a", "b"], "train")
    other.edit.discard(other.ids.add(["x", "a"], "train"), True)
    other.close()
    (held,) = ledger.layout.ids("0-1").iterdir()
    held.write_bytes(b"damaged")
    again = Ledger(tmp_path, options=STILL, rank=1)
    again.ids.add(["a", "b"], "train")
    again._others.look()
    assert hidden(again) == []
    assert again.discarded.elsewhere == {"lost/0", "lost/1"}
    assert again.edit.discard(rows(1), True) == 1
    assert hidden(again) == ["b"]
    again.close()
    ledger.close()


FOREIGN = """
import sys, numpy as np
from weightslab.ledger import Ledger
ledger = Ledger(sys.argv[1])
rows = ledger.ids.block("train", range(10))
ledger.edit.discard(rows[[2, 7]], True)
ledger.edit.tag(rows[2:3], "seen", True)
ledger.edit.discard(rows[7:8], False)
print(ledger.writer, ledger.launch, flush=True)
if len(sys.argv) > 2:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
ledger.close()
"""


@pytest.mark.parametrize("killed", [(), ("killed",)])
def test_a_client_in_another_process_reaches_a_training(
    tmp_path: Path, killed: tuple[str, ...]
) -> None:
    """A process that only edits is a writer without a launch; what it did counts, killed or not."""
    training = Ledger(tmp_path, options=QUICK)
    training.register("train", range(10))
    ended = run_script(FOREIGN, tmp_path, *killed, path=True)
    assert ended.stdout.split() == ["0-1", "0"], ended.stderr
    wait_until(lambda: hidden(training) == ["train/2"])
    assert training.tags() == ["seen"]
    assert not (tmp_path / "launches").exists()
    training.close()
