"""Large arrays: few files, within a rate and a size on the disk, the newest of each sample."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from tests.ledger.arrays.test_arrays import arrays
from tests.ledger.support import samples
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.arrays.file import Cursor
from weightslab.ledger.files import Files

FREE = LedgerOptions(flush_interval_s=3600, array_rate_bytes_s=1e12)


def noise(seed: int, count: int = 1) -> np.ndarray:
    """Masks [count, 65, 64] of bytes that no compression makes smaller, led by their seed."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 65, 64), np.uint8)
    values[:, 0, 0] = seed
    return values


def packs(root: Path) -> list[Path]:
    return sorted(root.glob("arrays/*/*.parquet"))


def kept(ledger: Ledger) -> dict[int, int]:
    """Row -> seed of the mask that it has."""
    return {key >> 32: int(value[0, 0]) for key, value in arrays(ledger, "preds").items()}


def test_what_comes_too_fast_is_left_out_and_counted(tmp_path: Path) -> None:
    """A second's rate is taken at once; what is beyond it is said and counted."""
    ledger = Ledger(tmp_path, options=LedgerOptions(array_rate_bytes_s=40_000))
    rows = ledger.ids.block("train", range(10))
    with pytest.warns(match="left out"):
        ledger.append_arrays("preds", rows, np.ones((10, 64, 64), np.float32))
    ledger.close()
    assert len(arrays(Ledger(tmp_path, mode="r"), "preds")) == 4
    assert ledger.status()["large_arrays_left_out"] == 6


def test_a_flush_packs_its_arrays_into_one_file(tmp_path: Path) -> None:
    """A thousand masks are no thousand files."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(200))
    ledger.append_arrays("preds", rows, noise(3, 200))
    ledger.append_arrays("targets", rows, noise(4, 200))
    ledger.close()
    assert len(packs(tmp_path)) == 1
    assert kept(Ledger(tmp_path, mode="r")) == dict.fromkeys(range(200), 3)


def test_arrays_are_read_before_they_are_written(tmp_path: Path) -> None:
    """A large array is part of every answer as soon as its saving call has returned."""
    ledger = Ledger(tmp_path, options=FREE)
    ledger.append_arrays("preds", ledger.ids.block("train", range(1)), noise(9))
    assert kept(ledger) == {0: 9}
    assert packs(tmp_path) == []
    ledger.close()


def test_replaced_arrays_give_their_room_back(tmp_path: Path) -> None:
    """However often arrays are replaced, the disk holds about one of each sample."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(100))
    for turn in range(12):
        some = rows[:90] if turn else rows
        ledger.append_arrays("preds", some, noise(turn, len(some)))
        ledger.flush()
    assert kept(ledger) == {row: 11 if row < 90 else 0 for row in range(100)}
    on_disk = sum(path.stat().st_size for path in packs(tmp_path))
    assert on_disk < 1.3 * 100 * 4160
    assert ledger.status()["large_arrays_bytes"] == on_disk
    ledger.close()
    assert kept(Ledger(tmp_path, mode="r")) == {r: 11 if r < 90 else 0 for r in range(100)}


def test_many_small_packs_become_few(tmp_path: Path) -> None:
    """A flush with few arrays leaves no file of its own for ever."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(60))
    for row in range(60):
        ledger.append_arrays("preds", rows[row : row + 1], noise(row))
        ledger.flush()
    assert len(packs(tmp_path)) <= 17
    assert kept(ledger) == {row: row for row in range(60)}
    ledger.close()
    assert kept(Ledger(tmp_path, mode="r")) == {row: row for row in range(60)}


def test_the_oldest_give_way_when_the_disk_budget_is_full(tmp_path: Path) -> None:
    """The disk never holds more than the budget; the newest arrays stay, the others are counted."""
    budget = 50 * 4160
    options = LedgerOptions(
        flush_interval_s=3600, array_rate_bytes_s=1e12, array_budget_bytes=budget
    )
    ledger = Ledger(tmp_path, options=options)
    rows = ledger.ids.block("train", range(100))
    with pytest.warns(match="the oldest go"):
        for at in range(10):
            ledger.append_arrays("preds", rows[10 * at : 10 * at + 10], noise(at, 10))
            ledger.flush()
            on_disk = sum(path.stat().st_size for path in packs(tmp_path))
            assert on_disk <= ledger.status()["large_arrays_bytes"] <= budget
    found = kept(ledger)
    ledger.close()
    assert found == {row: row // 10 for row in range(100 - len(found), 100)}
    assert len(found) >= 30
    assert ledger.status()["large_arrays_left_out"] == 100 - len(found)
    assert kept(Ledger(tmp_path, mode="r")) == found


def test_a_small_array_takes_the_place_of_a_large_one(tmp_path: Path) -> None:
    """Of arrays of changing size the newest is the sample's, also after closing."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.add(["a"], "train")
    ledger.append_arrays("preds", rows, np.ones((1, 64, 64), np.int64))
    ledger.flush()
    ledger.append_arrays("preds", rows, np.array([[1, 2]]))
    ledger.close()
    assert samples(tmp_path)[0]["prediction"] == "[1, 2]"
    assert arrays(Ledger(tmp_path, mode="r"), "preds")[0].tolist() == [1, 2]


def test_the_newest_counts_across_launches(tmp_path: Path) -> None:
    """Small after large after small, each by a process of its own: the last one is found."""
    for turn, value in enumerate((np.ones((1, 3)), noise(1), np.zeros((1, 2)), noise(2))):
        ledger = Ledger(tmp_path, options=FREE)
        ledger.append_arrays("preds", ledger.ids.add(["a"], "train"), value)
        ledger.close()
        found = arrays(Ledger(tmp_path, mode="r"), "preds")
        assert list(found) == [0]
        assert np.array_equal(found[0], value[0]), turn


def test_a_pack_that_is_read_is_not_removed(tmp_path: Path) -> None:
    """A reader that has found its files reads them to the end, whatever is rewritten meanwhile."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(1))
    ledger.append_arrays("preds", rows, noise(1))
    ledger.flush()
    store = ledger.views()[0].store
    (path,) = packs(tmp_path)
    with store.pins.pinned([path]):
        ledger.append_arrays("preds", rows, noise(2))
        ledger.flush()
        assert path.exists()
    ledger.append_arrays("preds", rows, noise(3))
    ledger.flush()
    assert not path.exists()
    ledger.close()


def test_what_is_being_read_is_not_merged_away(tmp_path: Path) -> None:
    """A pack that is replaced after a reader has chosen it, and before it opens it, is read."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(2))
    ledger.append_arrays("preds", rows, noise(1, 2))
    ledger.flush()
    (path,) = packs(tmp_path)
    replaced: list[bool] = []

    def replace(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is Cursor.__init__.__code__ and not replaced:
            replaced.append(True)
            ledger.append_arrays("preds", rows, noise(2, 2))
            ledger.flush()
            replaced.append(path.exists())

    sys.setprofile(replace)
    try:
        found = kept(ledger)
    finally:
        sys.setprofile(None)
    assert (found, replaced) == ({0: 1, 1: 1}, [True, True])
    assert kept(ledger) == {0: 2, 1: 2}
    ledger.close()


def test_a_reader_beside_a_writer_sees_new_packs(tmp_path: Path) -> None:
    """Another process's packs that were rewritten since the last look are found."""
    ledger = Ledger(tmp_path, options=FREE)
    rows = ledger.ids.block("train", range(2))
    ledger.append_arrays("preds", rows, noise(1, 2))
    ledger.flush()
    reader = Ledger(tmp_path, mode="r")
    assert kept(reader) == {0: 1, 1: 1}
    ledger.append_arrays("preds", rows, noise(2, 2))
    ledger.flush()
    assert reader.look(lambda: kept(reader)) == {0: 2, 1: 2}
    ledger.close()


class DyingAt(Files):
    """A disk that takes `left` changes of the folder and then none any more."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, "Input/output error")

    def rename(self, source: Path, target: Path) -> None:
        self._change()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._change()
        super().remove(path)


@pytest.mark.filterwarnings("ignore::weightslab.errors.WeightsLabWarning")
def test_packs_are_whole_wherever_writing_ends(tmp_path: Path) -> None:
    """Cut off before any change of the folder, every flushed array is there, or a newer one."""
    at = cut = 0
    while True:
        root, files = tmp_path / str(at), DyingAt(at)
        ledger = Ledger(root, options=FREE, files=files)
        rows = ledger.ids.block("train", range(10))
        done = -1
        for turn in range(8):
            some = rows[: 9 - turn % 3]
            ledger.append_arrays("preds", some, noise(turn + 1, len(some)))
            ledger.flush()
            if files.left < 0:
                break
            done = turn
        if done >= 0:
            # What a process that died here leaves: nothing more reaches the folder.
            found = kept(Ledger(root, mode="r"))
            for row in range(9):
                turns = [t for t in range(done + 1) if row < 9 - t % 3]
                if turns:
                    assert found[row] in (turns[-1] + 1, done + 2), (at, row)
        cut += files.left < 0
        finished = files.left >= 0
        files.left = 1 << 30
        ledger.close()
        if finished:
            break
        at += 1
    assert cut > 20
