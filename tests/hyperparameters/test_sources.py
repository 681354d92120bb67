"""YAML of hyperparameters: what is read, and what each error says."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.hyperparameters.test_mould import TREES
from weightslab.errors import InputError
from weightslab.hyperparameters.changes import same
from weightslab.hyperparameters.sources import read_bytes, signature, tree_of_yaml

MARKS = "ab:{}[]-&*!#|>'\"\n \t$?,%@`"
"""What means something in YAML."""


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("lr: 1e-4", {"lr": 1e-4}),
        ("lr: 1E5", {"lr": 1e5}),
        ("lr: '1e-4'", {"lr": "1e-4"}),
        ("day: 2020-01-01", {"day": "2020-01-01"}),
        ("b: yes", {"b": True}),
        ("x: null\ny:", {"x": None, "y": None}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("b: &b {lr: 1}\no:\n  <<: *b\n  wd: 2", {"b": {"lr": 1}, "o": {"lr": 1, "wd": 2}}),
        ("2: a\ntrue: b", {2: "a", True: "b"}),
        ("größe: 'é🦊'", {"größe": "é🦊"}),
        ("\ufefflr: 1", {"lr": 1}),
        ("lr: 1\r\nwd: 2\r\n", {"lr": 1, "wd": 2}),
        ("a: ${b}\nb: ???", {"a": "${b}", "b": "???"}),
        ("{}", {}),
    ],
)  # fmt: skip
def test_what_is_read(text: str, tree: dict[Any, Any]) -> None:
    """Values as OmegaConf reads them: 1e-4 is a float, a date is text; links stay written."""
    assert same(tree_of_yaml(text.encode(), "f"), tree)


def test_no_number_is_a_number() -> None:
    """NaN and infinities are read."""
    tree = tree_of_yaml(b"a: .nan\nb: -.inf", "f")
    assert tree is not None
    assert math.isnan(tree["a"])
    assert tree["b"] == -math.inf


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff", "null", "~"])
def test_an_empty_file(text: str) -> None:
    """A file without a value is told from one that says `{}`."""
    assert tree_of_yaml(text.encode(), "f") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb:\n\tc: 2", r"f:3: .*indent with spaces"),
        (b"a: 1\nb: [1, 2", r"f:2: expected YAML"),
        (b"a: 1\nb: {c: 1", r"f:2: expected YAML"),
        (b"a: 1\nb: 2\na: 3", r"f:3: .*duplicate key a"),
        (b"o:\n  a: 1\n  a: 3", r"f:3: .*duplicate key a"),
        (b"a: *nobody", r"f:1: .*undefined alias"),
        (b"a: 1\n---\nb: 2", r"f:2: .*another document"),
        (b"a: !!python/object/apply:os.system [ls]", r"f:1: .*constructor for the tag"),
        (b"? [1]\n: 2", r"f:1: .*unhashable key"),
        (b"- 1\n- 2", r"f:1: expected `key: value` lines at the top, got a sequence"),
        (b"\n\njust text", r"f:3: expected `key: value`.*got a scalar"),
        (b"3", r"f:1: expected `key: value`"),
        (b"x: 1\nnull: 1", r"Incompatible key type"),
        (b"x: 1\nopt:\n  lr: ${", r"f:3: opt\.lr: "),
        (b"x: 1\ny: \xff", r"f:2: expected UTF-8 text"),
        ("lr: 1".encode("utf-16"), r"f:1: expected UTF-8 text"),
        (b"a: \x00", r"special characters"),
        (b"a: &x {b: *x}", r"alias that holds itself"),
        (b"a: &x [*x]", r"alias that holds itself"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, r"nested too deeply"),
        (b"a: [" + b"1," * 100_001 + b"]", r"more than 100,000 values"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(data: bytes, said: str) -> None:
    """The error names the file, the line, and what was expected."""
    with pytest.raises(InputError, match=said):
        tree_of_yaml(data, "f")


def test_aliases_that_multiply() -> None:
    """A short text that would become a billion values is refused before it does."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InputError, match="aliases followed"):
        tree_of_yaml("\n".join(lines).encode(), "f")


@settings(deadline=None)
@given(
    st.binary(max_size=60) | st.text("ab:{}[]-&*!#|>'\"\n \t${}?,%@`", max_size=40).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever a file holds, it is a tree, or nothing, or one error of ours."""
    try:
        tree = tree_of_yaml(data, "f")
    except InputError:
        return
    assert tree is None or isinstance(tree, dict)


@settings(deadline=None)
@given(TREES)
def test_what_omegaconf_writes_is_read_back(tree: dict[str, Any]) -> None:
    """A saved config says what the config said."""
    written = OmegaConf.to_yaml(OmegaConf.create(tree)).encode()
    assert same(tree_of_yaml(written, "f") or {}, tree)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, a pipe, and a file too large are refused; a missing one is told apart."""
    with pytest.raises(InputError, match="is a folder: expected a YAML file"):
        read_bytes(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no regular file"):
        read_bytes(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="larger than 1,048,576 bytes"):
        read_bytes(tmp_path / "large")
    for missing in (tmp_path / "none", tmp_path / "large" / "none"):
        with pytest.raises(FileNotFoundError):
            read_bytes(missing)


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    """What the system refuses is said with its words."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"cannot be read: .*symbolic links"):
        read_bytes(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    """A file without the right to read it is refused."""
    (tmp_path / "f").touch(mode=0o000)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_bytes(tmp_path / "f")


def test_a_signature_tells_versions_apart(tmp_path: Path) -> None:
    """A file that another one has replaced differs, with the same size and time too."""
    path, other = tmp_path / "f", tmp_path / "g"
    assert signature(path) is None
    path.write_text("lr: 1")
    first = signature(path)
    assert signature(path) == first
    other.write_text("lr: 2")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert signature(path) != first
