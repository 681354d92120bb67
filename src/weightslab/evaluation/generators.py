"""Random generators that a dataset keeps for itself, and their places in the sequence.

A dataset that augments with its own `np.random.Generator` draws from it in the loader's
process when there are no workers. An evaluation over the same dataset would move it.
"""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ["generators_within", "kept_generators"]

_MOST_OBJECTS = 10_000
"""Objects that are looked into: a dataset is rarely more than a few dozen."""
_MOST_ITEMS = 64
"""Longer lists and dicts hold samples, and not what works on them."""

_Restore = Callable[[], object]


@contextmanager
def kept_generators(*roots: object) -> Iterator[None]:
    """Every generator that `roots` reach is afterwards where it was."""
    restores = [_kept(generator) for generator in generators_within(*roots)]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def generators_within(*roots: object) -> list[Any]:
    """Generators of torch, numpy and the standard library that objects reach.

    Attributes are followed, and short lists and dicts, what functions close over, and
    the globals that they and the methods of the user's classes name. Nothing is called
    and no property asked.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = list(roots)
    while waiting and len(seen) < _MOST_OBJECTS:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if _is_generator(one):
            found[id(one)] = one
        else:
            waiting.extend(_parts(one))
    return list(found.values())


def _is_generator(value: object) -> bool:
    if isinstance(value, random.Random):
        return True
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, (numpy.random.Generator, numpy.random.RandomState)):
        return True
    return torch is not None and isinstance(value, torch.Generator)


def _kept(generator: Any) -> _Restore:
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if hasattr(generator, "bit_generator"):
        bits = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    return partial(generator.set_state, generator.get_state())


def _parts(one: object) -> list[object]:
    if isinstance(one, (str, bytes, int, float, type, types.ModuleType)):
        return []
    if isinstance(one, Mapping):
        return list(one.values()) if type(one) is dict and len(one) <= _MOST_ITEMS else []
    if isinstance(one, (list, tuple, set, frozenset)):
        return list(one) if len(one) <= _MOST_ITEMS else []
    if isinstance(one, types.FunctionType):
        return _of_function(one)
    if isinstance(one, types.MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, partial):
        return [one.func, *one.args, *one.keywords.values()]
    return _of_object(one)


def _of_object(one: object) -> list[object]:
    """The attributes of an object, and what the methods of its classes reach."""
    parts = _attributes(one)
    for kind in type(one).__mro__:
        if kind.__module__.partition(".")[0] in _LIBRARIES:
            continue
        for member in vars(kind).values():
            if isinstance(member, types.MemberDescriptorType):
                parts.extend(_slot(member, one))
            elif isinstance(member, types.FunctionType):
                parts.extend(_of_function(member))
            elif _is_generator(member):
                parts.append(member)
    return parts


_LIBRARIES = frozenset({"builtins", "collections", "numpy", "torch", "torchvision", "typing"})
"""Whose methods draw from the global generators, or from what stands on the object."""


def _attributes(one: object) -> list[object]:
    try:
        # Not by getattr: a proxy would answer, by whatever it takes to have an answer.
        held: dict[str, object] = object.__getattribute__(one, "__dict__")
        return list(held.values())
    except AttributeError:
        return []


def _slot(member: types.MemberDescriptorType, one: object) -> list[object]:
    try:
        return [member.__get__(one)]
    except AttributeError:
        return []


def _of_function(function: types.FunctionType) -> list[object]:
    """What a function closes over, and those of the globals it names that are generators."""
    parts: list[object] = []
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # not yet assigned
            continue
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if _is_generator(value):
            parts.append(value)
    return parts
