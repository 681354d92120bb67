from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.ledger.support import UnmappedFiles
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger
from weightslab.ledger.files import Files, MappedFile
from weightslab.ledger.log.frames import log_files, read_log
from weightslab.ledger.log.records import decode_values, encode_values
from weightslab.ledger.log.wal import LogWriter

RECORDS = [b"first", b"", b"a longer third record", b"\0" * 40]


def write_log(folder: Path, records: list[bytes], files: Files, file_bytes: int = 4096) -> None:
    writer = LogWriter(
        files, folder, next_lsn=1, file_bytes=file_bytes, context=lambda: (9, b"context")
    )
    for record in records:
        writer.append(1, record)
    writer.sync()
    writer.abandon()


def payloads(folder: Path) -> list[bytes]:
    return [f.payload for path in log_files(folder) for f in read_log(path).frames if f.kind == 1]


@pytest.mark.parametrize("files", [Files(), UnmappedFiles()], ids=["mapped", "appended"])
def test_what_is_appended_comes_back_in_order(tmp_path: Path, files: Files) -> None:
    """Records come back as they went in, from mapped and from appended logs."""
    write_log(tmp_path, RECORDS, files)
    assert payloads(tmp_path) == RECORDS


def test_numbers_go_on_across_files(tmp_path: Path) -> None:
    """Each record has the next number, across the files of a log."""
    write_log(tmp_path, [bytes(1000)] * 20, Files())
    numbers = [f.lsn for path in log_files(tmp_path) for f in read_log(path).frames]
    assert len(log_files(tmp_path)) > 1
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_record_larger_than_a_file_gets_a_file_of_its_size(tmp_path: Path) -> None:
    """A record larger than a log file is logged whole."""
    write_log(tmp_path, [b"x" * 50_000], Files())
    assert payloads(tmp_path) == [b"x" * 50_000]


def test_retired_files_are_removed_and_later_ones_kept(tmp_path: Path) -> None:
    """Only files whose every record is published are removed."""
    writer = LogWriter(Files(), tmp_path, next_lsn=1, file_bytes=2048, context=lambda: (9, b""))
    for _ in range(20):
        last = writer.append(1, bytes(500))
    writer.sync()
    before = len(log_files(tmp_path))
    writer.retire(last // 2)
    after = len(log_files(tmp_path))
    assert 0 < after < before
    writer.finish()
    assert log_files(tmp_path) == []


STEPS = st.integers(-(2**62), 2**62)


@settings(max_examples=50)
@given(
    STEPS,
    hnp.arrays(st.sampled_from([np.float32, np.float64]), st.tuples(st.integers(1, 3), st.just(4))),
    st.booleans(),
    st.booleans(),
)
def test_values_survive_the_log_bit_for_bit(
    step: int, block: np.ndarray, instances: bool, on_curve: bool
) -> None:
    """Values come back bit for bit, NaN payloads included, with step, rows and instances."""
    rows = np.array([3, 1, 1, 2**31 - 1], np.int32)
    annotations = np.array([1, 2, 1, 7], np.int32) if instances else None
    codes = tuple(range(len(block)))
    payload = encode_values(step, codes, block, rows, annotations, on_curve=on_curve)
    back = decode_values(payload)
    assert (back.step, back.codes, back.on_curve) == (step, codes, on_curve)
    assert back.block.tobytes() == block.tobytes()
    assert back.rows is not None
    assert back.rows.tolist() == rows.tolist()
    assert (back.annotations is None) == (not instances)


class LittleRoom(Files):
    """A disk with so many bytes free."""

    def __init__(self, free_bytes: int) -> None:
        super().__init__()
        self.free_bytes = free_bytes
        self.made: list[int] = []

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        if size_bytes > self.free_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.made.append(size_bytes)
        return super().map_log(path, size_bytes)


def test_a_disk_with_little_room_gets_a_smaller_log(tmp_path: Path) -> None:
    """Where a whole log file does not fit, values are logged in one that does."""
    files = LittleRoom(3 << 20)
    ledger = Ledger(tmp_path / "run", files=files)
    rows = ledger.ids.add(["a"], "train")
    ledger.append_samples({"loss": np.array([1.0])}, rows, step=0)
    assert not ledger._writer.gap
    assert files.made == [2 << 20]
    ledger.close()


def test_a_disk_without_any_room_is_said(tmp_path: Path) -> None:
    """Where not even the smallest log fits, values wait in memory, and that is said."""
    ledger = Ledger(tmp_path / "run", files=LittleRoom(1000))
    with pytest.warns(WeightsLabWarning, match="No space left"):
        ledger.ids.add(["a"], "train")
    assert ledger._writer.gap
    ledger.close()
