"""The seed's section "Tag/discard APIs", and what api.md says of tags."""

from __future__ import annotations

import inspect
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import Numbers, python, said, table
from weightslab.errors import InputError, UnknownOptionError


@pytest.fixture
def seen() -> list[str]:
    """Samples that are known, in the split `train`."""
    names = ["img0", "img1", "img2"]
    wl.save_signals({"loss": [0.0, 1.0, 2.0]}, names)
    return names


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("tag_samples", [("sample_ids", ...), ("tag", ...), ("mode", "add")]),
        ("register_categorical_tag", [("tag", ...), ("categories", ...)]),
        ("set_categorical_tag", [("sample_ids", ...), ("tag", ...), ("value", ...)]),
        ("discard_samples", [("sample_ids", ...), ("discarded", True)]),
        ("get_samples_by_tag", [("tag", ...), ("origin", "train"), ("limit", None)]),
        ("get_discarded_samples", [("origin", "train"), ("limit", None)]),
    ],
)
def test_signatures(verb: str, expected: list[tuple[str, Any]]) -> None:
    """Quoted: "wl.tag_samples(sample_ids, tag, mode="add")" and the others."""
    parameters = inspect.signature(getattr(wl, verb)).parameters.values()
    found = [(p.name, ... if p.default is p.empty else p.default) for p in parameters]
    assert found == expected


# -- boolean tags ------------------------------------------------------------------


@pytest.mark.usefixtures("seen")
def test_add() -> None:
    """Quoted: "Add, remove, or set boolean tags on sample IDs (present / absent)"."""
    assert wl.tag_samples(["img0", "img2"], "hard") == 2
    assert wl.get_samples_by_tag("hard") == ["img0", "img2"]
    assert [row["tag:hard"] for row in table().values()] == [True, False, True]


@pytest.mark.usefixtures("seen")
def test_remove() -> None:
    """Quoted: "Add, remove, or set boolean tags"."""
    wl.tag_samples(["img0", "img2"], "hard")
    assert wl.tag_samples(["img0", "img1"], "hard", mode="remove") == 1
    assert wl.get_samples_by_tag("hard") == ["img2"]


@pytest.mark.usefixtures("seen")
def test_set_adds() -> None:
    """Quoted: "mode="set" is currently treated as add in current implementation"."""
    wl.tag_samples(["img0"], "hard")
    wl.tag_samples(["img1"], "hard", mode="set")
    assert wl.get_samples_by_tag("hard") == ["img0", "img1"]


@pytest.mark.usefixtures("seen")
def test_unknown_mode() -> None:
    """Issue 2: "Unknown flags and options name the nearest known"."""
    with pytest.raises(UnknownOptionError, match="did you mean 'remove'"):
        wl.tag_samples(["img0"], "hard", mode="removed")  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", ["", None, 3])
@pytest.mark.usefixtures("seen")
def test_what_is_no_tag(tag: Any) -> None:
    """The error says what a tag is."""
    with pytest.raises(InputError, match="non-empty string"):
        wl.tag_samples(["img0"], tag)
    with pytest.raises(InputError, match="non-empty string"):
        wl.get_samples_by_tag(tag)


@pytest.mark.parametrize(
    "ids", [1, "1", np.int64(1), torch.tensor(1), [1], torch.tensor([1]), np.array(["1"]), ["1", 1]]
)
def test_every_spelling_of_an_id(ids: Any) -> None:
    """api.md: "`1`, `"1"`, `np.int64(1)` and `tensor(1)` are one sample; results are `str`"."""
    wl.save_signals({"loss": [0.0, 1.0]}, [1, 2])
    assert wl.tag_samples(ids, "hard") == 1
    assert wl.get_samples_by_tag("hard") == ["1"]
    wl.discard_samples(ids)
    assert wl.get_discarded_samples() == ["1"]


# -- categorical tags --------------------------------------------------------------


@pytest.mark.usefixtures("seen")
def test_categorical_example() -> None:
    """The seed's example, verbatim: one string value per sample, from a set; ""/None clears it."""
    # Declare a tag with its allowed category values (UI shows the choices).
    wl.register_categorical_tag("weather", ["rainy", "sunny", "cloudy"])
    # Set one category value on samples (auto-registers the value; "" / None clears it).
    wl.set_categorical_tag(["img0", "img1"], "weather", "rainy")
    assert [row["tag:weather"] for row in table().values()] == ["rainy", "rainy", None]
    wl.set_categorical_tag(["img0"], "weather", "sunny")
    assert table()["img0", 0]["tag:weather"] == "sunny"


@pytest.mark.parametrize("nothing", ["", None])
@pytest.mark.usefixtures("seen")
def test_clearing_a_category(nothing: str | None) -> None:
    """An empty string clears a value, and None does, as the seed says."""
    wl.set_categorical_tag(["img0", "img1"], "weather", "rainy")
    assert wl.set_categorical_tag(["img0"], "weather", nothing) == 1
    assert wl.get_samples_by_tag("weather") == ["img1"]


def test_the_set_is_persisted() -> None:
    """Quoted: "The allowed category set is persisted in the tag registry … before any sample"."""
    with wl.Session("run"):
        wl.register_categorical_tag("weather", ["rainy", "sunny"])
    with wl.Session("run") as session:
        assert session.ledger.categories() == {"weather": ["rainy", "sunny"]}
        wl.register_categorical_tag("weather", ["sunny", "cloudy"])
    with wl.Session("run", mode="r") as session:
        assert session.ledger.categories()["weather"] == ["rainy", "sunny", "cloudy"]


@pytest.mark.usefixtures("seen")
def test_a_new_value_is_registered() -> None:
    """Quoted: "auto-registers the value"."""
    wl.register_categorical_tag("weather", ["rainy"])
    wl.set_categorical_tag(["img0"], "weather", "hail")
    assert wl.get_samples_by_tag("weather") == ["img0"]
    assert table()["img0", 0]["tag:weather"] == "hail"


@pytest.mark.usefixtures("seen")
def test_any_value_of_a_category() -> None:
    """api.md: "answers `get_samples_by_tag` with the samples that hold any value"."""
    wl.set_categorical_tag(["img0"], "weather", "rainy")
    wl.set_categorical_tag(["img2"], "weather", "sunny")
    assert wl.get_samples_by_tag("weather") == ["img0", "img2"]


@pytest.mark.usefixtures("seen")
def test_a_tag_is_boolean_or_categorical() -> None:
    """The error names the other verb, or asks for another name."""
    wl.set_categorical_tag(["img0"], "weather", "rainy")
    wl.tag_samples(["img0"], "hard")
    with pytest.raises(InputError, match="set_categorical_tag"):
        wl.tag_samples(["img0"], "weather")
    with pytest.raises(InputError, match="boolean tag"):
        wl.set_categorical_tag(["img0"], "hard", "very")
    with pytest.raises(InputError, match="boolean tag"):
        wl.register_categorical_tag("hard", ["very"])


@pytest.mark.parametrize("categories", ["rainy", ["rainy", ""], ["rainy", 3], [None]])
def test_what_are_no_categories(categories: Any) -> None:
    """The error says what categories are."""
    with pytest.raises(InputError, match="string"):
        wl.register_categorical_tag("weather", categories)


@pytest.mark.usefixtures("seen")
def test_what_is_no_value() -> None:
    """The error says what a value is."""
    with pytest.raises(InputError, match="is a string, not 3"):
        wl.set_categorical_tag(["img0"], "weather", 3)  # type: ignore[arg-type]


# -- discards ----------------------------------------------------------------------


@pytest.mark.usefixtures("seen")
def test_discard() -> None:
    """Quoted: "Mark samples as discarded (or restore with discarded=False)"."""
    assert wl.discard_samples(["img0", "img1"]) == 2
    assert wl.get_discarded_samples() == ["img0", "img1"]
    assert wl.discard_samples(["img0"], discarded=False) == 1
    assert wl.get_discarded_samples() == ["img1"]
    assert [row["discarded"] for row in table().values()] == [False, True, False]


# -- questions ---------------------------------------------------------------------


@pytest.mark.usefixtures("seen")
def test_limit() -> None:
    """api.md: "`limit` | bounds the answer after filtering"."""
    wl.save_instance_signals({"iou": [1.0]}, ["elsewhere"], [0], origin="val")
    wl.tag_samples(["elsewhere", "img1", "img2"], "hard")
    wl.discard_samples(["elsewhere", "img1", "img2"])
    for limit, expected in [(0, []), (1, ["img1"]), (2, ["img1", "img2"]), (9, ["img1", "img2"])]:
        assert wl.get_samples_by_tag("hard", limit=limit) == expected
        assert wl.get_discarded_samples(limit=limit) == expected


@pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
def test_what_is_no_limit(limit: Any) -> None:
    """The error says what a limit is."""
    with pytest.raises(InputError, match="limit"):
        wl.get_samples_by_tag("hard", limit=limit)
    with pytest.raises(InputError, match="limit"):
        wl.get_discarded_samples(limit=limit)


def test_a_tag_that_nobody_has() -> None:
    """No sample has it: an empty list."""
    assert wl.get_samples_by_tag("nothing") == []


@pytest.mark.parametrize(("loader", "asked"), [("train_loader", "train"), ("val", "val_loader")])
def test_origin_is_the_split(loader: str, asked: str) -> None:
    """api.md: ""train" also finds a loader called `train_loader` and the reverse"."""
    list(wl.watch_or_edit(DataLoader(Numbers(3)), flag="data", loader_name=loader))
    wl.tag_samples([f"{loader}/1"], "hard")
    wl.discard_samples([f"{loader}/2"])
    assert wl.get_samples_by_tag("hard", origin=asked) == [f"{loader}/1"]
    assert wl.get_discarded_samples(origin=asked) == [f"{loader}/2"]
    assert wl.get_samples_by_tag("hard", origin="test") == []


def test_origin_none_means_every_split() -> None:
    """api.md: "`None` means every split"."""
    wl.save_instance_signals({"iou": [1.0]}, ["a"], [0], origin="val")
    wl.save_signals({"loss": [1.0]}, ["b"])
    wl.tag_samples(["a", "b"], "hard")
    wl.discard_samples(["a", "b"])
    assert sorted(wl.get_samples_by_tag("hard", origin=None)) == ["a", "b"]
    assert sorted(wl.get_discarded_samples(origin=None)) == ["a", "b"]


# -- ids that nobody knows ---------------------------------------------------------


@pytest.mark.parametrize("verb", ["tag", "category", "discard"])
@pytest.mark.usefixtures("seen")
def test_an_unknown_id_is_said(verb: str) -> None:
    """api.md: "tag and discard say so (a warning that names some of them …)"."""
    with pytest.warns(wl.WeightsLabWarning, match="1 of the ids.*'nobody'"):
        _edit(verb, ["img0", "nobody"])


@pytest.mark.parametrize("verb", ["tag", "category", "discard"])
@pytest.mark.filterwarnings("ignore::weightslab.errors.WeightsLabWarning")
@pytest.mark.usefixtures("seen")
def test_an_unknown_id_makes_no_phantom_row(verb: str) -> None:
    """api.md: "no phantom row shows up in exports"."""
    _edit(verb, ["nobody"])
    assert ("nobody", 0) not in table()
    assert wl.get_samples_by_tag("t", origin=None) == []
    assert wl.get_discarded_samples(origin=None) == []
    assert "nobody" not in wl.samples()["sample_id"]


@pytest.mark.parametrize("verb", ["tag", "category", "discard"])
@pytest.mark.filterwarnings("ignore::weightslab.errors.WeightsLabWarning")
def test_an_unknown_id_is_kept(verb: str) -> None:
    """api.md: "they are kept for when the sample appears", in another session too."""
    with wl.Session("run"):
        _edit(verb, ["later"])
    with wl.Session("run"):
        wl.save_signals({"loss": [1.0]}, ["later"])
        found = wl.get_discarded_samples() if verb == "discard" else wl.get_samples_by_tag("t")
        assert found == ["later"]


def _edit(verb: str, ids: list[str]) -> None:
    if verb == "tag":
        wl.tag_samples(ids, "t")
    elif verb == "category":
        wl.set_categorical_tag(ids, "t", "x")
    else:
        wl.discard_samples(ids)


# -- durability --------------------------------------------------------------------

KILLED = """
import os, signal, sys
import weightslab as wl
session = wl.Session(sys.argv[1]).__enter__()
wl.save_signals({"loss": [0.5, 1.0]}, ["a", "b"], step=0)
wl.tag_samples(["a"], "hard")
wl.register_categorical_tag("weather", ["rainy", "sunny"])
wl.set_categorical_tag(["b"], "weather", "sunny")
wl.discard_samples(["b"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_edits_survive_a_kill() -> None:
    """api.md: "A tag or discard survives a kill when its call returns"."""
    assert python(KILLED, "run").returncode == -signal.SIGKILL
    for mode in ("r", "w"):
        with wl.Session("run", mode=mode) as session:  # type: ignore[arg-type]
            assert wl.get_samples_by_tag("hard") == ["a"]
            assert wl.get_samples_by_tag("weather") == ["b"]
            assert wl.samples()["tag:weather"].to_list() == [None, "sunny"]
            assert session.ledger.categories()["weather"] == ["rainy", "sunny"]
            assert wl.get_discarded_samples() == ["b"]
            assert [row[:3] for row in wl.query_signal_history("loss")] == [
                ("a", 0, 0.5),
                ("b", 0, 1.0),
            ]


def test_an_unchanged_value_changes_nothing() -> None:
    """The verbs say how many samples changed."""
    with wl.Session("run") as session:
        wl.save_signals({"loss": [1.0]}, ["a"])
        assert [wl.tag_samples(["a"], "t"), wl.tag_samples(["a"], "t")] == [1, 0]
        assert [wl.discard_samples(["a"]), wl.discard_samples(["a"])] == [1, 0]
        assert [wl.set_categorical_tag(["a"], "w", "x") for _ in range(2)] == [1, 0]
        assert said(session) == ""


def test_a_closed_folder_is_not_edited() -> None:
    """A folder opened for reading refuses edits, and says so."""
    with wl.Session("run"):
        wl.save_signals({"loss": [1.0]}, ["a"])
    with wl.Session("run", mode="r"):
        for edit in (
            lambda: wl.tag_samples(["a"], "t"),
            lambda: wl.discard_samples(["a"]),
            lambda: wl.set_categorical_tag(["a"], "w", "x"),
            lambda: wl.register_categorical_tag("w", ["x"]),
            lambda: wl.save_signals({"loss": [1.0]}, ["a"]),
        ):
            with pytest.raises(wl.WeightsLabError, match="read"):
                edit()
