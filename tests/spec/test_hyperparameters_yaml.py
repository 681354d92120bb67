"""The seed's "Hyperparameters via YAML path", and what issue 4 and capture.md say of it."""

from __future__ import annotations

import copy
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import weightslab as wl
from tests.spec.support import said
from weightslab.errors import InputError
from weightslab.session import current


def _until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


@pytest.fixture
def config() -> Path:
    """A config.yaml in the working directory."""
    path = Path("config.yaml").absolute()
    path.write_text("experiment_name: exp\noptimizer:\n  lr: 1e-4  # found by hand\n")
    return path


def _watched(**options: Any) -> Any:
    return wl.watch_or_edit(
        "./config.yaml",
        flag="hyperparameters",
        defaults={"optimizer": {"lr": 1e-3, "name": "adam"}},
        poll_interval=0.02,
        **options,
    )


def test_the_call_of_the_page(config: Path) -> None:
    """Quoted: "watch_or_edit also supports file-based hyperparameter watching."."""
    hp = wl.watch_or_edit(
        "./config.yaml",
        flag="hyperparameters",
        defaults={"optimizer": {"lr": 1e-3}},
        poll_interval=1.0,
    )
    assert isinstance(hp, DictConfig)
    assert hp.optimizer.lr == 1e-4
    assert config.read_text().endswith("# found by hand\n")


def test_defaults_without_a_file() -> None:
    """Quoted: `defaults={"optimizer": {"lr": 1e-3}}`; the file is taken up when it appears."""
    with pytest.warns(UserWarning, match="the defaults hold until it is there"):
        hp = _watched()
    assert hp.optimizer.lr == 1e-3
    Path("config.yaml").write_text("optimizer: {lr: 5.0}")
    _until(lambda: hp.optimizer.lr == 5.0)


def test_no_file_and_no_defaults() -> None:
    """No falsy no-op: without either there is nothing to begin with, and it says so."""
    with pytest.raises(InputError, match="give defaults="):
        wl.watch_or_edit("./config.yaml", flag="hyperparameters")


@pytest.mark.parametrize("flag", ["hyperparameters", "hp", "params", "parameters"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_every_flag_takes_a_path(config: Path, flag: str, as_path: Callable[[str], Any]) -> None:
    """Quoted: "hyperparameters / hp / params / parameters"; a path as text and as a Path."""
    assert wl.watch_or_edit(as_path("config.yaml"), flag=flag).experiment_name == "exp"


def test_the_handle_is_the_registered_one(config: Path) -> None:
    """Quoted: "For hyperparameters: returns the registered hyperparameters handle."."""
    hp = _watched()
    assert current().registry.hyperparameters is hp


def test_the_file_names_the_run_folder(config: Path) -> None:
    """Quoted: "root_log_dir … (the directory passed to wl.watch_or_edit(..., flag=…))"."""
    _watched()
    assert current().root_log_dir == Path("weightslab_runs/exp")


def test_ones_own_config_is_edited_in_place() -> None:
    """Issue 4: "reads like a dict and like OmegaConf, stays live": one's own object, and parts."""
    mine = OmegaConf.create({"optimizer": {"lr": 1}})
    part = mine.optimizer
    assert wl.watch_or_edit(mine, flag="hp") is mine
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    hyperparameters.edit({"optimizer.lr": 2})
    assert mine.optimizer.lr == part.lr == 2


def test_the_handle_reads_like_a_dict(config: Path) -> None:
    """Issue 4: "The handle reads like a dict and like OmegaConf"."""
    hp = _watched()
    plain = {"optimizer": {"lr": 1e-4, "name": "adam"}, "experiment_name": "exp"}
    assert hp["optimizer"]["lr"] == hp.optimizer.lr == hp.get("optimizer").lr
    assert set(hp) == set(plain)
    assert dict(**hp) == OmegaConf.to_container(hp, resolve=True) == plain
    assert pickle.loads(pickle.dumps(hp)) == copy.deepcopy(hp) == plain


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "0.0001", "1.0e-4"])
def test_a_learning_rate_is_a_float(config: Path, number: str) -> None:
    """capture.md: "`1e-4` is a float"."""
    config.write_text(f"optimizer: {{lr: {number}}}")
    assert repr(_watched().optimizer.lr) == "0.0001"


def test_a_version_is_swapped_in_whole_or_not_at_all(config: Path) -> None:
    """capture.md: "any error keeps the old values and warns once per content"."""
    hp = _watched()
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    config.write_text("optimizer: {lr: 7.0}\nexperiment_name: ${nowhere}")
    _until(lambda: hyperparameters.describe()["errors"])
    assert (hp.optimizer.lr, hp.experiment_name) == (1e-4, "exp")
    assert "experiment_name could not be read any more" in said(current())
    config.write_text("optimizer: {lr: 8.0}\nexperiment_name: exp")
    _until(lambda: hp.optimizer.lr == 8.0)
    assert hyperparameters.describe()["errors"] == 1


def test_what_the_code_sets_survives_an_edit_of_another_key(config: Path) -> None:
    """The file's difference is made, not its state: `hp.optimizer.name` was set by the script."""
    hp = _watched()
    hp.optimizer.name = "lion"
    config.write_text(config.read_text().replace("1e-4", "1e-2"))
    _until(lambda: hp.optimizer.lr == 1e-2)
    assert hp.optimizer.name == "lion"


def test_a_key_that_goes_falls_back_to_its_default(config: Path) -> None:
    """`defaults=` lies under every version of the file, not under the first alone.

    What has none keeps its last value: the script reads it, and would end.
    """
    hp = _watched()
    config.write_text("new: [1, 2]")
    _until(lambda: "new" in hp)
    left = {"experiment_name": "exp"}
    assert hp == {"optimizer": {"lr": 1e-3, "name": "adam"}, "new": [1, 2]} | left


def test_a_script_that_changes_its_folder(config: Path, tmp_path: Path) -> None:
    """Hydra changes the working directory: the file is the one that was meant at the call."""
    hp = _watched()
    (tmp_path / "outputs").mkdir()
    os.chdir(tmp_path / "outputs")
    config.write_text("optimizer: {lr: 3.0}")
    _until(lambda: hp.optimizer.lr == 3.0)


def test_an_edit_through_us_is_written(config: Path) -> None:
    """capture.md: "A UI edit is validated, then written by `os.replace`, and its own echo is …"."""
    hp = _watched()
    inode = config.stat().st_ino
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    hyperparameters.edit({"optimizer.lr": 0.01}, actor="studio")
    assert config.read_text() == (
        "experiment_name: exp\noptimizer:\n  lr: 0.01  # found by hand\n"
    )  # fmt: skip
    assert config.stat().st_ino != inode
    hp.optimizer.lr = 0.5  # the script's own: an echo that came back would undo it
    config.write_text(config.read_text() + "seen: true\n")
    _until(lambda: "seen" in hp)
    assert hp.optimizer.lr == 0.5


def test_an_edited_link_is_said(config: Path) -> None:
    """capture.md: "an edited interpolated leaf loses its link: warn"."""
    config.write_text("base: 1\nlr: ${base}\n")
    hp = _watched()
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    with pytest.warns(UserWarning, match="lr was a link to another hyperparameter"):
        hyperparameters.edit({"lr": 2})
    hp.base = 5
    assert hp.lr == 2


def test_a_name_that_comes_too_late(config: Path) -> None:
    """api.md: `root_log_dir` of the hyperparameters names the folder; not once it is in use."""
    hp = _watched()
    wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    config.write_text("experiment_name: other")
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    _until(lambda: "experiment_name" in hyperparameters.take())
    assert hp.experiment_name == "other"
    assert "experiment_name was changed to 'other', which cannot take effect" in said(current())
    assert current().root_log_dir == Path("weightslab_runs/exp").absolute()
