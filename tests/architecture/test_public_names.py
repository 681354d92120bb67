"""The public names: pinned here, so that none appears or goes by accident."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

import weightslab as wl

PUBLIC = [
    "Session",
    "SignalContext",
    "WeightsLabError",
    "WeightsLabWarning",
    "__version__",
    "arrays",
    "compute_signals",
    "current_ids",
    "discard_samples",
    "eval_fn",
    "get_current_experiment_hash",
    "get_discarded_samples",
    "get_samples_by_tag",
    "history",
    "keep_serving",
    "pause",
    "query_instance_history",
    "query_sample_history",
    "query_signal_history",
    "register_categorical_tag",
    "request_evaluation",
    "reset",
    "resume",
    "run_pending_evaluation",
    "samples",
    "save_instance_signals",
    "save_signals",
    "scan_history",
    "set_categorical_tag",
    "signal",
    "status",
    "tag_samples",
    "watch_or_edit",
    "write_dataframe",
    "write_history",
]


def test_public_names_are_pinned() -> None:
    """`weightslab.__all__` is this list, sorted."""
    assert wl.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_loads(name: str) -> None:
    """Every name of `__all__` is there, and stays the same object."""
    assert getattr(wl, name) is getattr(wl, name)
    assert name in dir(wl)


@pytest.mark.parametrize("name", sorted(wl._HOMES))
def test_a_public_name_is_public_at_home(name: str) -> None:
    """The module that holds a public name lists it in its own `__all__`."""
    assert name in import_module(wl._HOMES[name]).__all__


def test_type_checkers_see_what_loads_lazily() -> None:
    """The imports for type checkers and the table of the lazy ones agree."""
    tree = ast.parse(Path(str(wl.__file__)).read_text("utf-8"))
    typed = {
        name.name: statement.module
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    assert typed == wl._HOMES


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A typo raises AttributeError and names what was probably meant."""
    with pytest.raises(AttributeError, match="did you mean 'save_signals'"):
        _ = wl.save_signal  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", ["weightslab", "weightslab_lightning"])
def test_types_are_shipped(package: str) -> None:
    """Both packages carry their py.typed marker."""
    assert files(package).joinpath("py.typed").is_file()
