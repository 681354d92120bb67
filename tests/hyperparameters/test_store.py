"""One handle, its sources and its listeners."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.hyperparameters.support import Net, settled, until
from weightslab.errors import InputError, UnknownOptionError, WeightsLabWarning
from weightslab.hyperparameters.changes import MISSING, Change
from weightslab.hyperparameters.handle import hyperparameters_handle
from weightslab.hyperparameters.store import Hyperparameters, of_file
from weightslab.notices import Notices


def _of(values: Any, **options: Any) -> Hyperparameters:
    return Hyperparameters(hyperparameters_handle(values), **options)


def _elsewhere(call: Any, *arguments: Any) -> None:
    """Call on another thread, and wait for its end."""
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    thread.join()


# -- taking --------------------------------------------------------------------------


def test_nothing_changed() -> None:
    """What is there at the start is no change."""
    assert _of({"lr": 1, "nan": float("nan")}).take() == {}


def test_edits_in_code_are_taken_once() -> None:
    """Changed, new and removed keys; a second take finds nothing."""
    hyperparameters = _of({"opt": {"lr": 1, "old": 2}})
    hp = hyperparameters.handle
    hp.opt.lr = 5
    hp.new = [1]
    del hp.opt["old"]
    assert hyperparameters.take() == {
        "opt.lr": Change(1, 5), "opt.old": Change(2, MISSING), "new": Change(MISSING, [1]),
    }  # fmt: skip
    assert hyperparameters.take() == {}
    assert hyperparameters.taken == {"opt": {"lr": 5}, "new": [1]}


def test_links_are_followed_in_changes() -> None:
    """What a link leads to changes the link's value, too; one to nowhere disturbs nothing."""
    hyperparameters = _of({"base": 1, "lr": "${base}", "odd": "${nowhere}"})
    hyperparameters.handle.base = 2
    assert hyperparameters.take() == {"base": Change(1, 2), "lr": Change(1, 2)}


def test_an_edit_waits_for_the_thread_that_takes() -> None:
    """A step sees one version: what another thread asks is made between two steps."""
    hyperparameters = _of({"lr": 1, "wd": 1})
    woken: list[bool] = []
    hyperparameters.when_told = lambda: woken.append(hyperparameters.told)
    hyperparameters.take()
    _elsewhere(hyperparameters.edit, {"lr": 2, "wd": 2})
    assert (hyperparameters.told, woken) == (True, [True])
    assert hyperparameters.handle == {"lr": 1, "wd": 1}
    assert hyperparameters.describe()["waiting"] == 1
    assert hyperparameters.take() == {"lr": Change(1, 2), "wd": Change(1, 2)}
    assert not hyperparameters.told
    assert hyperparameters.handle == {"lr": 2, "wd": 2}


def test_the_thread_that_takes_edits_at_once() -> None:
    """A script that edits by the verb sees it in the next line."""
    hyperparameters = _of({"lr": 1})
    hyperparameters.take()
    hyperparameters.edit({"lr": 2})
    assert hyperparameters.handle.lr == 2
    assert hyperparameters.take() == {"lr": Change(1, 2)}


def test_where_nobody_takes_an_edit_is_made_at_once() -> None:
    """A loop without a safe point, or a notebook, sees it too."""
    hyperparameters = _of({"lr": 1})
    _elsewhere(hyperparameters.edit, {"lr": 2})
    assert hyperparameters.handle.lr == 2


def test_a_training_that_went_away_holds_no_edit_up() -> None:
    """Nobody took for long, measured by the pace of the steps: the edit is made without it."""
    now = 0.0
    hyperparameters = _of({"lr": 1}, now=lambda: now)
    hyperparameters.take()
    now = 5.0
    hyperparameters.take()  # a step takes 5 s
    _elsewhere(hyperparameters.edit, {"lr": 2})
    now = 19.0
    hyperparameters.make_overdue()
    assert hyperparameters.handle.lr == 1
    now = 20.5
    hyperparameters.make_overdue()
    assert hyperparameters.handle.lr == 2
    assert hyperparameters.take() == {"lr": Change(1, 2)}


def test_edits_that_wait_are_tried_on_each_other() -> None:
    """A second edit is tried on what the first will leave."""
    hyperparameters = _of({"a": {"lr": 1}, "b": 2})
    hyperparameters.take()
    _elsewhere(hyperparameters.edit, {"b": {"c": 3}})
    _elsewhere(hyperparameters.edit, {"b.c": 4})
    hyperparameters.take()
    assert hyperparameters.handle == {"a": {"lr": 1}, "b": {"c": 4}}


def test_an_edit_that_the_script_makes_impossible_meanwhile() -> None:
    """The config became read-only before it was made: said, counted, and nothing is changed."""
    hyperparameters = _of({"lr": 1})
    hyperparameters.take()
    _elsewhere(hyperparameters.edit, {"lr": 2})
    OmegaConf.set_readonly(hyperparameters.handle, True)
    with pytest.warns(WeightsLabWarning, match="by user could not be made: lr: .*read-only"):
        assert hyperparameters.take() == {}
    assert hyperparameters.describe()["waiting"] == 0


def test_a_fork_takes_nothing() -> None:
    """A child neither takes nor edits: locks of threads that it has not may be held in it."""
    hyperparameters = _of({"lr": 1})
    hyperparameters.handle.lr = 2
    child = os.fork()
    if not child:
        try:
            hyperparameters.edit({"lr": 3})
        except RuntimeError:
            os._exit(0 if hyperparameters.take() == {} and hyperparameters.handle.lr == 2 else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hyperparameters.take() == {"lr": Change(1, 2)}


# -- edits ---------------------------------------------------------------------------


def test_an_unknown_key() -> None:
    """A typo of a client is no new hyperparameter: the nearest key is named."""
    hyperparameters = _of({"optimizer": {"lr": 1}})
    with pytest.raises(UnknownOptionError, match=r"did you mean 'optimizer\.lr'"):
        hyperparameters.edit({"optimizer.lrr": 2})


def test_an_edit_is_made_whole_or_not_at_all() -> None:
    """One bad value among good ones: nothing changes, and nothing waits."""
    hyperparameters = Hyperparameters(OmegaConf.structured(Net))
    with pytest.raises(InputError, match="layers: Value 'two'"):
        hyperparameters.edit({"adam.lr": 5.0, "layers": "two"}, actor="a client")
    assert hyperparameters.handle == OmegaConf.structured(Net)
    assert hyperparameters.take() == {}


@pytest.mark.parametrize("flag", ["readonly", "struct"])
def test_flags(flag: str) -> None:
    """A struct takes new values, a read-only config none."""
    hyperparameters = _of({"lr": 1})
    if flag == "readonly":
        OmegaConf.set_readonly(hyperparameters.handle, True)
        with pytest.raises(InputError, match="read-only"):
            hyperparameters.edit({"lr": 2})
    else:
        OmegaConf.set_struct(hyperparameters.handle, True)
        hyperparameters.edit({"lr": 2})
    assert hyperparameters.handle.lr == (1 if flag == "readonly" else 2)


def test_a_lost_link_is_said_once() -> None:
    """An edited leaf that was a link is a value of its own from then on."""
    hyperparameters = _of({"base": 1, "lr": "${base}"})
    with pytest.warns(WeightsLabWarning) as caught:
        hyperparameters.edit({"lr": 2})
        hyperparameters.handle.lr = "${base}"
        hyperparameters.edit({"lr": 3})
    assert ["lr was a link" in str(one.message) for one in caught] == [True]


# -- reading --------------------------------------------------------------------------


def test_the_handle_reads_like_a_dict() -> None:
    """By key, attribute and get; iterated, splatted, pickled and copied."""
    hyperparameters = _of({"lr": 1, "opt": {"wd": 2}})
    hp = hyperparameters.handle
    hyperparameters.edit({"lr": 5, "opt.wd": 6})
    expected = {"lr": 5, "opt": {"wd": 6}}
    assert hp["lr"] == hp.lr == hp.get("lr") == 5
    assert list(hp) == ["lr", "opt"]
    assert dict(**hp) == OmegaConf.to_container(hp) == expected
    assert pickle.loads(pickle.dumps(hp)) == copy.deepcopy(hp) == expected


def test_objects_among_the_values() -> None:
    """Any object may be a value; an edit of another key leaves it alone, and takes see it."""
    array = object()
    hyperparameters = _of({"x": array, "lr": 1})
    hyperparameters.edit({"lr": 2})
    assert hyperparameters.handle.x is array
    hyperparameters.handle.x = len
    assert hyperparameters.take() == {"x": Change(array, len), "lr": Change(1, 2)}


# -- listening --------------------------------------------------------------------------


def test_listeners_are_told_in_order() -> None:
    """Each gets the changes, and a dict of its own."""
    hyperparameters = _of({"lr": 1})
    heard: list[Any] = []
    hyperparameters.listeners += [lambda changes: changes.clear(), heard.append]
    hyperparameters.tell({"lr": Change(1, 2)})
    assert heard == [{"lr": Change(1, 2)}]


def test_a_listener_that_fails_is_said_once_and_counted() -> None:
    """The others hear, and whoever tells never sees the error."""
    hyperparameters = _of({"lr": 1})
    heard: list[Any] = []

    def broken(_: Any) -> None:
        raise KeyError("x")

    hyperparameters.listeners += [broken, heard.append]
    with pytest.warns(WeightsLabWarning) as caught:
        hyperparameters.tell({})
        hyperparameters.tell({})
    assert len(caught) == 1
    assert "KeyError: 'x'" in str(caught[0].message)
    assert list(hyperparameters.notices.counts().values()) == [2]
    assert len(heard) == 2


def test_a_listener_may_edit() -> None:
    """What it edits is seen at the next take, and nobody waits for anybody."""
    hyperparameters = _of({"lr": 1, "wd": 1})
    hyperparameters.listeners.append(lambda _: hyperparameters.edit({"wd": 2}))
    hyperparameters.edit({"lr": 2})
    hyperparameters.tell(hyperparameters.take())
    assert hyperparameters.take() == {"wd": Change(1, 2)}


# -- a file -------------------------------------------------------------------------------


def _of_file(path: Path, defaults: Any = None) -> Hyperparameters:
    return of_file(path, defaults=defaults, poll_interval_s=0.02, notices=Notices())


def test_a_file_is_followed(tmp_path: Path) -> None:
    """What is written to it arrives; code edits of other keys survive; closed, nothing does."""
    path = tmp_path / "c.yaml"
    path.write_text("opt: {lr: 1, wd: 1}")
    hyperparameters = _of_file(path, {"opt": {"eps": 3}})
    hyperparameters.follow(lambda: False)
    hp = hyperparameters.handle
    opt = hp.opt
    opt.wd = 9
    path.write_text("opt: {lr: 2, wd: 1}")
    until(lambda: opt.lr == 2)
    assert opt == {"lr": 2, "wd": 9, "eps": 3}
    hyperparameters.close()
    assert not _followed()


def test_a_file_is_followed_for_as_long_as_somebody_holds_us(tmp_path: Path) -> None:
    """A session that is gone without being closed leaves no thread."""
    (tmp_path / "c.yaml").write_text("lr: 1")
    hyperparameters = _of_file(tmp_path / "c.yaml")
    hyperparameters.follow(lambda: False)
    assert _followed()
    del hyperparameters
    until(lambda: not _followed())


def _followed() -> bool:
    gc.collect()
    return any(thread.name == "weightslab-hyperparameters" for thread in threading.enumerate())


def test_a_version_that_does_not_fit(tmp_path: Path) -> None:
    """Good YAML of a wrong type is refused as a whole, said, counted and shown."""
    path = tmp_path / "c.yaml"
    path.write_text("layers: 3")
    hyperparameters = _of_file(path, OmegaConf.structured(Net))
    path.write_text("layers: two\nadam: {lr: 5}")
    with pytest.warns(WeightsLabWarning, match="stay as they are.*layers: Value 'two'"):
        hyperparameters.look(settled)
    assert hyperparameters.handle.adam.lr == 0.1
    shown = hyperparameters.describe()
    assert (shown["source"], shown["file"], shown["errors"]) == (str(path), "invalid", 1)
    assert "layers" in shown["error"]
    path.write_text("layers: 4")
    hyperparameters.look(settled)
    assert hyperparameters.take() == {"layers": Change(3, 4)}


def test_a_file_of_a_wrong_type_at_the_start(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "c.yaml").write_text("layers: two")
    with pytest.raises(InputError, match=r"c\.yaml: .*two"):
        _of_file(tmp_path / "c.yaml", OmegaConf.structured(Net))


def test_a_comment_is_no_edit(tmp_path: Path) -> None:
    """A version that says the same in other words wakes nobody."""
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    hyperparameters = _of_file(path)
    path.write_text("# ours\nlr: 1\n")
    hyperparameters.look(settled)
    assert not hyperparameters.told


def test_an_edit_reaches_the_file_first(tmp_path: Path) -> None:
    """It is written in its place; links are written through; the echo changes nothing."""
    path = tmp_path / "c.yaml"
    path.write_text("base:\n  lr: 1  # rate\nopt: ${base}\n")
    hyperparameters = _of_file(path)
    hyperparameters.edit({"opt.lr": 2}, actor="a client")
    assert path.read_text() == "base:\n  lr: 2  # rate\nopt: ${base}\n"
    hyperparameters.handle.base.lr = 7
    hyperparameters.look(settled)
    assert hyperparameters.handle.base.lr == 7


def test_an_edit_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    """An invalid file refuses a client's edit; the handle stays."""
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    hyperparameters = _of_file(path)
    path.write_text("lr: [")
    with pytest.raises(InputError, match="expected YAML"):
        hyperparameters.edit({"lr": 2})
    assert hyperparameters.handle.lr == 1


@pytest.mark.parametrize("key", ["root_log_dir", "experiment_name"])
def test_a_folder_that_is_named_too_late(key: str) -> None:
    """Once values are written, another name of their folder is said to come too late."""
    hyperparameters = _of({key: "a"})
    hyperparameters.follow(lambda: True)
    hyperparameters.handle[key] = "b"
    with pytest.warns(WeightsLabWarning, match=f"{key} was changed to 'b', which cannot take"):
        assert hyperparameters.take() == {key: Change("a", "b")}
