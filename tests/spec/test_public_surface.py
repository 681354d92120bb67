"""The seed's "Public API surface", all but `serve` (issue 7), and how a newcomer meets it."""

from __future__ import annotations

import inspect

import pytest

import weightslab as wl
from tests.spec.support import python

SEED = [
    "watch_or_edit",
    "keep_serving",
    "signal",
    "compute_signals",
    "save_signals",
    "save_instance_signals",
    "tag_samples",
    "register_categorical_tag",
    "set_categorical_tag",
    "discard_samples",
    "get_samples_by_tag",
    "get_discarded_samples",
    "SignalContext",
    "eval_fn",
    "run_pending_evaluation",
    "get_current_experiment_hash",
    "query_signal_history",
    "query_sample_history",
    "query_instance_history",
    "write_history",
    "write_dataframe",
]
BESIDE = [
    "Session",
    "arrays",
    "current_ids",
    "history",
    "pause",
    "request_evaluation",
    "reset",
    "resume",
    "samples",
    "scan_history",
    "status",
]


@pytest.mark.parametrize("name", SEED + BESIDE)
def test_exported(name: str) -> None:
    """Quoted: "re-exported at package level (import weightslab as wl)"."""
    assert name in wl.__all__
    assert callable(getattr(wl, name))


@pytest.mark.parametrize("name", SEED + BESIDE)
def test_documented(name: str) -> None:
    """Every public verb says what it does."""
    assert (inspect.getdoc(getattr(wl, name)) or "").strip()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("get_current_experiment_hash", []),
        ("query_signal_history", [("signal_name", ...), ("exp_hash", None)]),
        (
            "query_sample_history",
            [("sample_id", ...), ("signal_name", None), ("exp_hash", None)],
        ),
        (
            "query_instance_history",
            [("sample_id", ...), ("annotation_id", ...), ("signal_name", None), ("exp_hash", None)],
        ),
        (
            "write_history",
            [
                ("path", None),
                ("format", "json"),
                ("type_of_history", None),
                ("graph_name", None),
                ("experiment_hash", None),
                ("sample_id", None),
                ("instance_id", None),
            ],
        ),
        (
            "write_dataframe",
            [
                ("path", None),
                ("format", "json"),
                ("columns", None),
                ("sample_id", None),
                ("instance_id", None),
            ],
        ),
    ],
)
def test_signatures(name: str, expected: list[tuple[str, object]]) -> None:
    """The seed's signatures of what reads back and writes out, name by name, default by default."""
    parameters = inspect.signature(getattr(wl, name)).parameters.values()
    found = [(p.name, ... if p.default is p.empty else p.default) for p in parameters]
    assert found == expected


def test_a_misspelled_verb() -> None:
    """The error names the nearest."""
    with pytest.raises(AttributeError, match="did you mean 'save_signals'"):
        _ = wl.save_signal


QUIET = """
import os, sys, threading
import weightslab
assert not {"torch", "polars"} & set(sys.modules)
assert threading.active_count() == 1
assert not os.listdir(".")
"""


def test_import_does_nothing() -> None:
    """style.md: "`import weightslab` does nothing: no thread, no handler, no banner, no file"."""
    ended = python(QUIET)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
