"""Every public verb has an example in its docstring, and it runs as printed."""

from __future__ import annotations

import doctest
import inspect

import pytest

import weightslab as wl

VERBS = [name for name in wl.__all__ if inspect.isfunction(getattr(wl, name))]


@pytest.mark.parametrize("name", VERBS)
def test_the_example_of_a_verb_runs(name: str) -> None:
    """The docstring of a public verb holds an example, and the example gives what it shows."""
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(wl, name), name, globs={})
    assert test.examples
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert result.failed == 0, "".join(report)
