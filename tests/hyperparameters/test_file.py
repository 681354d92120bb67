"""A YAML file: its last good version, what it changes, and what is written to it."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hyperparameters.support import settled
from weightslab.errors import InputError, WeightsLabWarning
from weightslab.hyperparameters.changes import MISSING
from weightslab.hyperparameters.file import YamlFile
from weightslab.notices import Notices


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of hyperparameters."""
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1  # the rate\n")
    return path


def _taken_up(source: YamlFile) -> tuple[Any, Any] | None:
    """What a look at the file changes: from what, to what."""
    data = source.settled(settled)
    edit = None if data is None else source.wanted(data)
    if data is None or edit is None:
        return None
    source.accept(data)
    return edit.before, edit.after


def test_a_version_is_taken_up_once(path: Path) -> None:
    """What changed against the last good version, over the defaults; then nothing more.

    A key that goes has its default again; one without keeps its value, which code reads.
    """
    source = YamlFile(path, {"lr": 9, "wd": 3}, Notices())
    assert _taken_up(source) is None
    path.write_text("lr: 2\nmore: x\n")
    assert _taken_up(source) == ({"lr": 1, "wd": 3}, {"lr": 2, "wd": 3, "more": "x"})
    assert _taken_up(source) is None
    path.write_text("wd: 4\n")
    before = {"lr": 2, "wd": 3, "more": "x"}
    assert _taken_up(source) == (before, {"lr": 9, "wd": 4, "more": "x"})


def test_the_path_is_absolute_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that changes its working directory keeps following the same file."""
    monkeypatch.chdir(path.parent)
    source = YamlFile("config.yaml", None, Notices())
    (path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(path.parent / "elsewhere")
    path.write_text("lr: 2")
    assert source.path == path
    assert _taken_up(source) == ({"lr": 1}, {"lr": 2})


def test_a_file_that_moves_is_not_read(path: Path) -> None:
    """While each wait finds another size, nothing is taken up; once it stands, all of it."""
    source = YamlFile(path, None, Notices())
    whole = b"lr: 0.015\nwd: 0.25\n"
    written = iter(range(1, len(whole) + 1))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        for length in itertools.islice(written, 1):
            path.write_bytes(whole[:length])
        return False

    path.write_bytes(b"")
    found = source.settled(wait)
    assert found == whole
    assert set(waits) == {0.1}


def test_a_file_that_never_stands_is_left_for_the_next_look(path: Path) -> None:
    """A file that is written all the time keeps nobody waiting for ever."""
    source = YamlFile(path, None, Notices())
    count = 0

    def wait(_: float) -> bool:
        nonlocal count
        count += 1
        path.write_text(f"lr: {'1' * count}")
        return False

    path.write_text("lr: 0.5")
    assert source.settled(wait) is None
    assert source.settled(settled) == path.read_bytes()


def test_a_wait_that_is_given_up(path: Path) -> None:
    """A watcher that is stopped while a file settles takes nothing up."""
    source = YamlFile(path, None, Notices())
    path.write_text("lr: 2")
    assert source.settled(lambda _: True) is None


def _by_rename(path: Path, text: str) -> None:
    path.with_name("new").write_text(text)
    path.with_name("new").replace(path)


def _by_editor(path: Path, text: str) -> None:
    """As vim does it: the old file becomes a backup, and goes once the new one stands."""
    path.replace(path.with_name("config.yaml~"))
    path.write_text(text)
    path.with_name("config.yaml~").unlink()


def _with_an_old_time(path: Path, text: str) -> None:
    """A clock that jumped back, or a copy that keeps its time."""
    path.write_text(text)
    os.utime(path, (1, 1))


def _as_a_link(path: Path, text: str) -> None:
    target = path.with_name(f"version {len(list(path.parent.iterdir()))}")
    target.write_text(text)
    link = path.with_name("link")
    link.symlink_to(target)
    link.replace(path)


@pytest.mark.parametrize("write", [_by_rename, _by_editor, _with_an_old_time, _as_a_link])
def test_ways_of_replacing_a_file(path: Path, write: Callable[[Path, str], None]) -> None:
    """Renames, editors, times that go back and links that are switched: each is noticed."""
    source = YamlFile(path, None, Notices())
    for n in (2, 3):
        write(path, f"lr: {n}\n")
        assert _taken_up(source) == ({"lr": n - 1}, {"lr": n})


def test_a_switched_folder_of_a_config_map(tmp_path: Path) -> None:
    """The file is a link through a folder that is itself a link, and only that is switched."""
    for n in (1, 2):
        (tmp_path / f"..{n}").mkdir()
        (tmp_path / f"..{n}" / "c.yaml").write_text(f"lr: {n}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    source = YamlFile(tmp_path / "c.yaml", None, Notices())
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert _taken_up(source) == ({"lr": 1}, {"lr": 2})


def test_an_invalid_version_is_said_once_and_counted(path: Path) -> None:
    """The same content again says nothing; other content does; a good one is taken up."""
    notices = Notices()
    source = YamlFile(path, None, notices)
    with pytest.warns(WeightsLabWarning) as caught:
        for text in ("lr: [", "lr: [ ", "lr: ["):
            path.write_text(text)
            data = source.settled(settled)
            assert data is not None
            with pytest.raises(InputError) as error:
                source.wanted(data)
            source.refuse(data, error.value)
    assert len(caught) == 2
    assert all("config.yaml:1: expected YAML" in str(one.message) for one in caught)
    assert (source.state, source.errors, source.tree) == ("invalid", 3, {"lr": 1})
    path.write_text("lr: 1  # the rate\n")
    assert _taken_up(source) is None
    assert (source.state, source.error) == ("followed", None)


def test_a_file_that_became_empty_is_no_version(path: Path) -> None:
    """Nobody unsets everything so: it is refused, and says how to do it."""
    source = YamlFile(path, None, Notices())
    path.write_text("")
    data = source.settled(settled)
    assert data == b""
    with pytest.raises(InputError, match=r"is empty: .*\{\} for none"):
        source.wanted(data)
    path.write_text("{}")
    assert _taken_up(source) == ({"lr": 1}, {"lr": 1})


def test_a_deleted_file(path: Path) -> None:
    """The last good version stays, said once; it is taken up when it comes back, and again."""
    notices = Notices()
    source = YamlFile(path, None, notices)
    for n in (2, 3):
        path.unlink()
        with pytest.warns(WeightsLabWarning) as caught:
            assert _taken_up(source) is None
            assert _taken_up(source) is None
        assert len(caught) == 1
        assert "the last values hold until it is there" in str(caught[0].message)
        assert source.state == "missing"
        path.write_text(f"lr: {n}\n")
        assert _taken_up(source) == ({"lr": n - 1}, {"lr": n})
        assert source.state == "followed"


def test_a_file_that_became_a_folder(path: Path) -> None:
    """What is no file any more is refused, and the last good version stays."""
    source = YamlFile(path, None, Notices())
    path.unlink()
    path.mkdir()
    with pytest.warns(WeightsLabWarning, match="is a folder"):
        assert source.settled(settled) is None
    assert (source.state, source.tree) == ("invalid", {"lr": 1})


def test_a_missing_file_without_defaults(tmp_path: Path) -> None:
    """Refused, with the way out."""
    with pytest.raises(InputError, match=r"no file .*none\.yaml: create it, or give defaults="):
        YamlFile(tmp_path / "none.yaml", None, Notices())


def test_an_empty_file_at_the_start(path: Path) -> None:
    """With defaults they hold; without, there is nothing to begin with."""
    path.write_text("# to be filled\n")
    assert YamlFile(path, {"lr": 1}, Notices()).tree == {}
    with pytest.raises(InputError, match="is empty"):
        YamlFile(path, None, Notices())


def test_a_missing_file_with_defaults(tmp_path: Path) -> None:
    """The defaults hold, which is said, until it is there."""
    with pytest.warns(WeightsLabWarning, match="the defaults hold until it is there"):
        source = YamlFile(tmp_path / "later.yaml", {"lr": 1}, Notices())
    assert _taken_up(source) is None
    (tmp_path / "later.yaml").write_text("lr: 2")
    assert _taken_up(source) == ({"lr": 1}, {"lr": 2})


# -- what we write -----------------------------------------------------------------


def test_an_edit_is_written_and_its_echo_ignored(path: Path) -> None:
    """The comment stays, the mode too, and the next look finds nothing new."""
    path.chmod(0o640)
    source = YamlFile(path, None, Notices())
    source.write({("lr",): 0.5})
    assert path.read_text() == "lr: 0.5  # the rate\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert _taken_up(source) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["config.yaml"]
    path.write_text("lr: 0.5\nwd: 1\n")
    assert _taken_up(source) == ({"lr": 0.5}, {"lr": 0.5, "wd": 1})


def test_an_edit_keeps_what_somebody_wrote_meanwhile(path: Path) -> None:
    """What is in the file and not yet taken up stays in it, and is taken up."""
    source = YamlFile(path, None, Notices())
    path.write_text("lr: 1  # mine\nwd: 7\n")
    source.write({("lr",): 2})
    assert path.read_text() == "lr: 2  # mine\nwd: 7\n"
    assert _taken_up(source) == ({"lr": 2}, {"lr": 2, "wd": 7})


def test_the_target_of_a_link_is_replaced(path: Path) -> None:
    """The link stays a link."""
    link = path.with_name("link.yaml")
    link.symlink_to("config.yaml")
    YamlFile(link, None, Notices()).write({("lr",): 2})
    assert link.is_symlink()
    assert path.read_text() == "lr: 2  # the rate\n"


def test_lost_comments_are_said(path: Path) -> None:
    """An edit that one line cannot say writes the file anew, and tells it."""
    source = YamlFile(path, None, Notices())
    with pytest.warns(WeightsLabWarning, match="comments in it are lost"):
        source.write({("lr",): MISSING, ("a", "b"): 1})
    assert path.read_text() == "a:\n  b: 1\n"
    assert _taken_up(source) is None


def test_an_invalid_file_is_not_written(path: Path) -> None:
    """What somebody is in the middle of writing is not overwritten."""
    source = YamlFile(path, None, Notices())
    path.write_text("lr: [1,")
    with pytest.raises(InputError, match="expected YAML"):
        source.write({("lr",): 2})
    assert path.read_text() == "lr: [1,"


def test_an_edit_without_a_file_is_said(path: Path) -> None:
    """The file does not come back by an edit."""
    source = YamlFile(path, None, Notices())
    path.unlink()
    with pytest.warns(WeightsLabWarning, match="an edit holds in this process alone"):
        source.write({("lr",): 2})
    assert not path.exists()


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    """Where the temporary file cannot be made, nothing is changed, and the error says why."""
    path = tmp_path / f"{'x' * 245}.yaml"  # its own name fits, one with our ending does not
    path.write_text("lr: 1")
    with pytest.raises(InputError, match=r"cannot be written \(File name too long\)"):
        YamlFile(path, None, Notices()).write({("lr",): 2})
    assert path.read_text() == "lr: 1"
