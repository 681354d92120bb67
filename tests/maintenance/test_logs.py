"""What a check says of the logs of processes that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.maintenance.support import found, killed_writer, only, report
from weightslab.ledger.log.frames import HEADER_BYTES, encode_frame, encode_header


@pytest.fixture
def log(run: Path) -> Path:
    """The only log of a killed process, whole."""
    killed_writer(run)
    (path, *_) = sorted((run / "_wal/0-0").glob("*.wal"))
    return path


def test_records_wait_in_the_log_of_a_killed_process(run: Path, log: Path) -> None:
    """After a kill records wait: they are counted, and nothing is wrong."""
    finding = only(run)
    assert (finding.kind, finding.is_problem, finding.path) == ("waiting", False, "_wal/0-0")
    (writer,) = report(run).writers
    # 40 steps, one launch, the ids, the signal's name and the tag.
    assert finding.text == f"{writer.waiting} records wait in the log"
    assert writer.waiting >= 43


def test_a_torn_tail_is_no_damage(run: Path, log: Path) -> None:
    """A record that was being written when the process died is none."""
    logs = sorted(log.parent.glob("*.wal"))
    before = only(run).text
    data = logs[-1].read_bytes().rstrip(b"\0")
    logs[-1].write_bytes(data[:-3])
    assert found(run) == [("waiting", "_wal/0-0")]
    assert only(run).text != before


def test_whole_records_behind_a_broken_one(run: Path, log: Path) -> None:
    """A log that is broken in its middle is damaged: what stands behind cannot be numbered."""
    data = bytearray(log.read_bytes())
    data[HEADER_BYTES + 40] ^= 1
    log.write_bytes(bytes(data))
    assert ("log", f"_wal/0-0/{log.name}") in found(run)


def test_a_header_that_is_none(run: Path, log: Path) -> None:
    """A log whose header is damaged is named."""
    log.write_bytes(b"\xff" * 64 + log.read_bytes()[64:])
    assert ("log-file", f"_wal/0-0/{log.name}") in found(run)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(1, b""), (2, b"\xff\xff\xff\xff{}"), (2, b"\x02\0\0\0[]"), (3, b"\x02\0\0\0{}"), (9, b"x")],
)
def test_a_record_of_other_bytes(run: Path, kind: int, payload: bytes) -> None:
    """A record whose checksum agrees and that makes no sense is damage, not a crash."""
    log = run / "_wal/0-0/000001.wal"
    log.write_bytes(encode_header(10**6, settled=True) + encode_frame(kind, payload))
    assert (only(run).kind, only(run).path) == ("log-file", "_wal/0-0/000001.wal")
