"""Values written into YAML text: comments and the lines of others stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.hyperparameters.test_mould import SCALARS, TREES
from weightslab.errors import InputError
from weightslab.hyperparameters.changes import MISSING, leaves, same
from weightslab.hyperparameters.sources import tree_of_yaml
from weightslab.hyperparameters.writing import changed_tree, changed_yaml

TEXT = """\
# what we found best
name: run   # a name
opt:
  # the rate
  lr: 1e-3  # was 1e-4
  betas: [0.9, 0.99]  # usual
  note: "a # b"
net: {depth: 3, wide: true}
empty:
sizes:
- 1
- 2  # wide
last: 1"""


def _changed(text: str, changes: dict[tuple[Any, ...], Any]) -> tuple[str, bool]:
    data, kept = changed_yaml(text.encode(), "f", changes)
    return data.decode(), kept


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("opt", "lr"), 0.01, "lr: 1e-3  #", "lr: 0.01  #"),
        (("opt", "lr"), "1e-3", "lr: 1e-3  #", "lr: '1e-3'  #"),
        (("opt", "note"), "c: d", '"a # b"', "'c: d'"),
        (("opt", "note"), "two\nlines", '"a # b"', '"two\\nlines"'),
        (("opt", "betas"), [0.5, None], "[0.9, 0.99]", "[0.5, null]"),
        (("net", "depth"), 4, "depth: 3", "depth: 4"),
        (("name",), "true", "name: run ", "name: 'true' "),
        (("empty",), 5, "empty:", "empty: 5"),
        (("last",), None, "last: 1", "last: null"),
        (("more",), 2, "last: 1", "last: 1\nmore: 2\n"),
        (("opt", "wd"), 0.1, "opt:\n", "opt:\n  wd: 0.1\n"),
        (("opt", "lr"), "${last}", "lr: 1e-3", "lr: ${last}"),
        (("sizes",), [4, 8.5], "- 1\n- 2", "- 4\n- 8.5"),
        (("a", "b", "c"), 5, "last: 1", "last: 1\na:\n  b:\n    c: 5\n"),
        (("opt", "sched", "t"), 5, "opt:\n", "opt:\n  sched:\n    t: 5\n"),
    ],
)
def test_one_value_changes_and_nothing_else(
    path: tuple[str, ...], value: Any, old: str, new: str
) -> None:
    """A scalar and a list in brackets are replaced where they stand, a new key gets a line."""
    assert _changed(TEXT, {path: value}) == (TEXT.replace(old, new), True)


def test_several_values_change_at_once() -> None:
    """Each in its place."""
    wanted = TEXT.replace("1e-3", "0.5").replace("last: 1", "last: 7")
    assert _changed(TEXT, {("opt", "lr"): 0.5, ("last",): 7}) == (wanted, True)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("a: &x 1  # c\nb: *x", {("a",): 2}),
        ("a: |\n  some\n  text\n# c\n", {("a",): "other"}),
        ("a:\n- 1\n# c\n- 2\n", {("a",): [1, 2, 3]}),
        ("a: {b: 1}  # c\n", {("a", "c"): 2}),
        ("a: 1  # c\nb: 2\n", {("b",): MISSING}),
        ("a:\n- [1]  # c\n", {("a",): [{"x": 1}]}),
        ("{a: 1}  # c\n", {("b", "c"): 2}),
        ("a: 1\nb: 2\n", {("b",): MISSING}),
        ("a: 1  # c\n", {("a",): {"b": 1}}),
        ("a: 1  # c\n", {(1,): 2, ("b",): {}, ("c",): {"d": [{"e": 1}]}}),
    ],
)
def test_what_needs_more_than_a_line(text: str, changes: dict[tuple[Any, ...], Any]) -> None:
    """It is written anew, and says the right thing; that comments went is told."""
    written, kept = _changed(text, changes)
    wanted = changed_tree(tree_of_yaml(text.encode(), "f") or {}, changes)
    assert same(tree_of_yaml(written.encode(), "f"), wanted)
    assert kept == ("# c" in written or "# c" not in text)


def test_a_merged_key_is_overridden_where_it_is_used() -> None:
    """A key that came by `<<` gets a line of its own; the anchor stays as it was."""
    text = "base: &b {lr: 1}\nopt:\n  <<: *b\n"
    written, kept = _changed(text, {("opt", "lr"): 2})
    assert kept
    assert written == text.replace("opt:\n", "opt:\n  lr: 2\n")


@pytest.mark.parametrize("text", ["\ufeffa: 1\n", "a: 1\r\nb: 2\r\n", "", "# c\n", "a: é # ü\n"])
def test_the_form_of_the_file_stays(text: str) -> None:
    """A byte order mark, line ends of Windows and comments above stay."""
    written, _ = _changed(text, {("new",): 5})
    assert written.startswith(text.removesuffix("\n") if text != "" else "new: 5")
    assert written.count("\r\n") in (0, written.count("\n"))


def test_what_yaml_cannot_hold() -> None:
    """An object of the user's cannot be written, and says so."""
    with pytest.raises(InputError, match="cannot be written as YAML"):
        changed_yaml(b"a: 1", "f", {("a",): object()})


@settings(deadline=None)
@given(TREES, st.data())
def test_any_tree_takes_any_value(tree: dict[str, Any], data: st.DataObject) -> None:
    """Whichever key gets whichever value: the text then says exactly that."""
    paths = [path for path, _ in leaves(tree) if path] or [("a",)]
    changes = {
        data.draw(st.sampled_from(paths)): data.draw(
            SCALARS | st.lists(SCALARS, max_size=3) | st.text(max_size=5).filter(_is_no_link)
        )
    }
    text = OmegaConf.to_yaml(OmegaConf.create(tree)).encode()
    written, _ = changed_yaml(text, "f", changes)
    assert same(tree_of_yaml(written, "f") or {}, changed_tree(tree, changes))


def _is_no_link(text: str) -> bool:
    return "$" not in text and text.isprintable()
