from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.errors import FolderError, LedgerFormatError
from weightslab.ledger import Ledger
from weightslab.ledger.layout import current_ranges, folder_name

NAMES = st.text(min_size=1, max_size=300).filter(
    lambda s: not any("\ud800" <= c <= "\udfff" for c in s)
)


@given(NAMES)
def test_folder_of_any_name_is_short_and_safe(name: str) -> None:
    """A folder name of a signal is at most 120 bytes and holds no separator, whatever the name."""
    folder = folder_name(name)
    assert 0 < len(folder.encode()) <= 120
    assert not set(folder) & set('/\\\0=,\n"')


@given(NAMES, NAMES)
def test_two_names_never_share_a_distinct_folder(first: str, second: str) -> None:
    """Names that differ have distinct folders, long and case-twisted ones too."""
    if first != second:
        assert folder_name(first, distinct=True) != folder_name(second, distinct=True)


def test_a_file_inside_the_range_of_another_is_superseded(tmp_path: Path) -> None:
    """A file whose range lies inside another file's range is superseded; readers drop it."""
    for name in (
        "seg-000000001-000000001.parquet",
        "seg-000000002-000000002.parquet",
        "seg-000000001-000000002.parquet",
        "seg-000000003-000000003.parquet",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert [(r.first, r.last) for r in current_ranges(tmp_path)] == [(1, 2), (3, 3)]


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    """A folder of an unknown format version is refused with both versions, and left alone."""
    (tmp_path / "ledger.json").write_text('{"format_version": 99}')
    with pytest.raises(LedgerFormatError, match=r"99.*reads 2"):
        Ledger(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.json"]


def test_a_damaged_format_file_is_named(tmp_path: Path) -> None:
    """A damaged ledger.json is an error that names the file."""
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(LedgerFormatError, match=r"ledger\.json"):
        Ledger(tmp_path)


def test_reading_a_folder_without_a_ledger_says_so(tmp_path: Path) -> None:
    """A folder without a ledger cannot be opened for reading, and nothing is made in it."""
    with pytest.raises(FolderError, match="no ledger"):
        Ledger(tmp_path, mode="r")
    assert list(tmp_path.iterdir()) == []


def test_a_file_as_the_run_folder_is_refused(tmp_path: Path) -> None:
    """A file where the run folder should be is an error, not a run in memory."""
    file = tmp_path / "run"
    file.write_text("mine")
    with pytest.raises(FolderError, match="is a file"):
        Ledger(file)
    assert file.read_text() == "mine"
