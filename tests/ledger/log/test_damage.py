from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.disks import FaultyFiles
from tests.ledger.stories import Told, open_run, read_run, tell_step
from weightslab.errors import WeightsLabWarning
from weightslab.ledger.log.frames import HEADER_BYTES, Frame, log_files, read_log


@pytest.fixture(scope="module", params=[True, False], ids=["mapped", "appended"])
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run whose every record is only in its logs: of all kinds, in several files."""
    root = tmp_path_factory.mktemp("logged") / "run"
    ledger = open_run(root, FaultyFiles(mapped=request.param))
    for step in range(2):
        for _ in tell_step(ledger, step, Told()):
            pass
    ledger.disown()
    assert len(log_files(root / "_wal/0-0")) > 2
    return root


def last_log(root: Path) -> Path:
    return log_files(root / "_wal/0-0")[-1]


def read(path: Path) -> list[Frame]:
    """Records of a log; none when its header is refused."""
    try:
        return read_log(path).frames
    except ValueError:
        return []


def used_bytes(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


def ends(frames: list[Frame]) -> list[int]:
    """Where the header and each record end in the file."""
    found = [HEADER_BYTES]
    for frame in frames:
        size = len(frame.payload)
        found.append(found[-1] + 16 + size + -size % 8)
    return found


def test_a_log_cut_at_any_byte_gives_every_record_before_the_cut(
    logged: Path, tmp_path: Path
) -> None:
    """Cut at any byte, a log gives exactly the records that are whole before the cut."""
    source = last_log(logged)
    frames, data = read_log(source).frames, source.read_bytes()
    assert len(frames) > 3
    # The payload counts, not what pads it to eight bytes.
    whole = [end - (-len(f.payload) % 8) for end, f in zip(ends(frames)[1:], frames, strict=True)]
    for cut in range(used_bytes(source) + 1):
        path = tmp_path / "000001.wal"
        path.write_bytes(data[:cut])
        assert read(path) == frames[: sum(end <= cut for end in whole)]


def test_a_log_with_any_byte_flipped_gives_every_record_before_it(
    logged: Path, tmp_path: Path
) -> None:
    """With any one byte changed, a log gives exactly the records before that byte, or all."""
    source = last_log(logged)
    frames, data = read_log(source).frames, source.read_bytes()
    borders = ends(frames)
    dice = random.Random(1)
    path = tmp_path / "000001.wal"
    for at in range(used_bytes(source)):
        for flip in (0xFF, 1 << dice.randrange(8)):
            broken = bytearray(data)
            broken[at] ^= flip
            path.write_bytes(broken)
            found = read(path)
            before = sum(end <= at for end in borders[1:])
            # A mark, or what pads a record, says nothing about a value.
            assert found in (frames[:before], frames)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 1023), st.binary(min_size=1, max_size=40))))
def test_a_log_that_is_damaged_in_places_gives_a_prefix(
    logged: Path, tmp_path: Path, damage: list[tuple[int, bytes]]
) -> None:
    """Whatever is written over a log, it gives a prefix of its records and raises nothing else."""
    source = last_log(logged)
    broken = bytearray(source.read_bytes())
    for at, junk in damage:
        broken[at : at + len(junk)] = junk[: max(0, len(broken) - at)]
    path = tmp_path / "000001.wal"
    path.write_bytes(broken)
    found = read(path)
    assert found == read_log(source).frames[: len(found)]


def damaged_copies(root: Path, target: Path, stride: int) -> Iterator[str]:
    """Copies of a folder with one byte of its logs flipped, or one log cut, here and there."""
    for path in log_files(root / "_wal/0-0"):
        data = path.read_bytes()
        for at in range(0, used_bytes(path), stride):
            broken = bytearray(data)
            broken[at] ^= 0xFF
            for content in (bytes(broken), data[:at]):
                shutil.copytree(root, target)
                (target / path.relative_to(root)).write_bytes(content)
                yield f"{path.name} at {at}"
                shutil.rmtree(target)


def test_a_folder_with_a_damaged_log_opens_and_says_nothing_wrong(
    logged: Path, tmp_path: Path
) -> None:
    """Wherever a log is damaged the folder opens, and holds no value that nobody saved."""
    whole = read_run(logged)
    for where in damaged_copies(logged, tmp_path / "run", 61):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsLabWarning)
            found = read_run(tmp_path / "run")
        assert not {k for k in found.values - whole.values if "lost/" not in str(k)}, where
        for name, value in found.arrays.items():
            assert "lost/" in str(name) or value <= whole.arrays[name], where


def test_a_launch_on_a_damaged_log_gives_no_sample_what_another_had(
    logged: Path, tmp_path: Path
) -> None:
    """Wherever a log is damaged, samples of the next launch begin with nothing."""
    for where in damaged_copies(logged, tmp_path / "run", 193):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsLabWarning)
            ledger = open_run(tmp_path / "run", FaultyFiles())
            rows = ledger.ids.add([f"fresh{i}" for i in range(5)], "train")
            ledger.append_samples({"loss": np.full(5, 99.0)}, rows, step=99)
            ledger.close()
            found = read_run(tmp_path / "run")
        fresh = [key for key in found.values if "fresh" in str(key)]
        assert sorted(fresh) == [("loss", f"fresh{i}", 0, 99, 99.0) for i in range(5)], where
        assert not [key for key in (*found.edits, *found.arrays) if "fresh" in str(key)], where


def test_a_log_whose_header_is_damaged_is_named_and_set_aside(logged: Path, tmp_path: Path) -> None:
    """A damaged header is said with the file's name; the next launch keeps the file, unread."""
    shutil.copytree(logged, tmp_path / "run")
    path = last_log(tmp_path / "run")
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)
    with pytest.warns(WeightsLabWarning, match=f"{path.name}.*header is damaged"):
        read_run(tmp_path / "run")
    with pytest.warns(WeightsLabWarning, match=path.name):
        open_run(tmp_path / "run", FaultyFiles()).close()
    assert path.with_suffix(".damaged").read_bytes() == data
    assert log_files(path.parent) == []
    read_run(tmp_path / "run")


def test_a_log_that_cannot_be_read_is_named_and_the_rest_opens(
    logged: Path, tmp_path: Path
) -> None:
    """A log that the operating system cannot read is said, and the other logs count."""
    shutil.copytree(logged, tmp_path / "run")
    path = last_log(tmp_path / "run")
    path.unlink()
    # Readable to nobody, whatever the user's rights: a folder is no file.
    path.mkdir()
    with pytest.warns(WeightsLabWarning, match=f"{path.name}.*{os.strerror(21)}"):
        found = read_run(tmp_path / "run")
    assert found.values["loss", "x", 0, 0, 0.0] == 1


def test_a_log_that_is_missing_between_two_is_said(logged: Path, tmp_path: Path) -> None:
    """Records that are missing between two logs are said; nothing after them is mixed up."""
    shutil.copytree(logged, tmp_path / "run")
    whole = read_run(logged)
    log_files(tmp_path / "run/_wal/0-0")[1].unlink()
    with pytest.warns(WeightsLabWarning, match="the log lacks what stands before"):
        found = read_run(tmp_path / "run")
    assert 0 < len(found.values) < len(whole.values)
    assert not {k for k in found.values - whole.values if "lost/" not in str(k)}


def test_a_damaged_record_between_whole_ones_is_said(logged: Path, tmp_path: Path) -> None:
    """A damaged record that others follow is no torn end: it is said."""
    shutil.copytree(logged, tmp_path / "run")
    path = last_log(tmp_path / "run")
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 20] ^= 1
    path.write_bytes(data)
    with pytest.warns(WeightsLabWarning, match=r"record behind its first 0 is damaged"):
        read_run(tmp_path / "run")
