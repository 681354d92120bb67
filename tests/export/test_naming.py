"""What the filters of an export mean, and the names that follow from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightslab.errors import InputError, UnknownOptionError
from weightslab.export import naming


@pytest.mark.parametrize(
    "value", [1, "1", np.int64(1), torch.tensor(1), [1], ["1", 1], np.array([1, 1]), (1,)]
)
def test_one_id_in_every_spelling(value: object) -> None:
    """Whatever type an id has, its one form is text, and a scalar is a one-item list."""
    assert naming.names(value, "sample_id") == ["1"]


@given(st.lists(st.text(), max_size=8).flatmap(st.permutations))
def test_order_and_repeats_do_not_matter(items: list[str]) -> None:
    """A list names the same filter in any order and with any repeats."""
    assert naming.names([*items, *items], "x") == naming.names(sorted(items), "x")


def test_none_is_all_and_empty_is_nothing() -> None:
    """Not given and empty are two things."""
    assert naming.names(None, "x") is None
    assert naming.names([], "x") == []


@pytest.mark.parametrize("value", [{"a": 1}, b"a", ["a", None]])
def test_what_is_no_id_is_refused(value: object) -> None:
    """A mapping, bytes or a None inside a list is an error that says what is expected."""
    with pytest.raises(InputError, match="sample_id must be"):
        naming.names(value, "sample_id")


def test_both_spellings_of_a_signal_are_one() -> None:
    """`signals//loss` and `loss` name one signal."""
    assert naming.signal_names(["signals//loss", "loss"]) == ["loss"]


@pytest.mark.parametrize("value", [-1, 1.5, "one", [1, "x"]])
def test_annotations_are_whole_numbers_from_zero(value: object) -> None:
    """Anything but 0, 1, 2, ... is refused."""
    with pytest.raises(InputError, match="instance_id"):
        naming.annotation_numbers(value)


@pytest.mark.parametrize("value", [2, "2", np.int32(2), torch.tensor([2]), [2, 2]])
def test_annotations_of_every_type(value: object) -> None:
    """Numbers of any library are accepted."""
    assert naming.annotation_numbers(value) == [2]


def test_instances_is_instance() -> None:
    """Both words select the same layer, and None and "all" select all three."""
    assert naming.kinds_of("instances") == naming.kinds_of("instance") == ("instance",)
    assert naming.kinds_of(None) == naming.kinds_of("all") == ("global", "sample", "instance")


@pytest.mark.parametrize("value", ["smaple", 3, ["sample"]])
def test_an_unknown_type_names_the_known(value: object) -> None:
    """The error lists what can be chosen."""
    with pytest.raises(UnknownOptionError, match="known: all, global, instance"):
        naming.kinds_of(value)  # type: ignore[arg-type]


def test_no_hash_means_the_current_one() -> None:
    """None is the current hash alone, "all" every one, and other text that one."""
    assert naming.hash_filter(None, "h1") == ["h1"]
    assert naming.hash_filter("all", "h1") is None
    assert naming.hash_filter("h2_1", "h1") == ["h2_1"]
    assert naming.hash_filter(None, None) is None


def test_a_hash_that_is_no_text_is_refused() -> None:
    """Numbers and lists are not hashes."""
    with pytest.raises(InputError, match="experiment_hash"):
        naming.hash_filter(["h1"], None)  # type: ignore[arg-type]


def test_names_are_equal_in_every_process() -> None:
    """Another process, with another hash seed, finds the same name."""
    filters = {"sample_id": naming.names({"b", "a", "é😀,\n"}, "sample_id")}
    here = naming.automatic_name(filters, "history", "json")
    code = (
        "from weightslab.export import naming as n; "
        "print(n.automatic_name({'sample_id': n.names({'a', 'é😀,\\n', 'b'}, 's')}, "
        "'history', 'json'))"
    )
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        there = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here


def test_naming_loads_no_polars() -> None:
    """Names are found without a data library."""
    code = "import sys, weightslab.export.naming; print('polars' in sys.modules)"
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_path_with_an_extension_is_the_file(tmp_path: Path) -> None:
    """A file is written directly, whatever the format."""
    assert naming.target_path(tmp_path / "a.csv", "n.json", tmp_path) == tmp_path / "a.csv"


def test_a_path_without_extension_is_a_folder(tmp_path: Path) -> None:
    """So is one that exists, and one that ends in a slash, dots in it or not."""
    (tmp_path / "run.1").mkdir()
    assert naming.target_path(tmp_path / "out", "n.json", tmp_path) == tmp_path / "out" / "n.json"
    assert naming.target_path(str(tmp_path / "run.1"), "n", tmp_path) == tmp_path / "run.1" / "n"
    assert naming.target_path(f"{tmp_path}/new.d/", "n", tmp_path) == tmp_path / "new.d" / "n"


def test_no_path_is_the_default_folder(tmp_path: Path) -> None:
    """Without a path, the run folder is where the file goes."""
    assert naming.target_path(None, "n.json", tmp_path) == tmp_path / "n.json"


@pytest.mark.parametrize("path", ["", b"a.json", 3])
def test_what_is_no_path_is_refused(path: object, tmp_path: Path) -> None:
    """An empty or odd path is an error, not the working directory."""
    with pytest.raises(InputError, match="path must"):
        naming.target_path(path, "n.json", tmp_path)  # type: ignore[arg-type]


def test_unknown_ids_are_said_by_name() -> None:
    """A few are named, the rest counted; nothing is said when all are known."""
    message = naming.say_unknown("sample_id", [str(n) for n in range(7)], {"0"})
    assert message == "no rows for sample_id '1', '2', '3', '4', '5' and 1 more"
    assert naming.say_unknown("sample_id", ["0"], {"0"}) is None
