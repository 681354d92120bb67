"""The experiment hash: 24 hexadecimal digits that name what an experiment is made of.

Eight digits each for hyperparameters, model architecture and the set of discarded
samples, so that equal content has the same name in every process, and two hashes
show at a glance what changed between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "DiscardDigest",
    "architecture_digits",
    "experiment_hash",
    "hyperparameter_digits",
    "marker",
    "plain_hash",
]

_NOTHING = "0" * 8
_NOT_CONTENT = frozenset({"is_training", "root_log_dir"})
"""Hyperparameters that say where and whether, not what."""


def _digits(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def hyperparameter_digits(values: Mapping[str, Any] | None) -> str:
    """Eight digits of hyperparameters; the order of keys does not matter."""
    if values is None:
        return _NOTHING
    content = {k: v for k, v in values.items() if k not in _NOT_CONTENT}
    return _digits(
        json.dumps(_plain(content), sort_keys=True, default=_text, separators=(",", ":"))
    )


def _plain(value: Any) -> Any:
    """`value` with keys that are text at every depth: JSON sorts no mixed ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):  # every process has an order of its own for text
        items = [json.dumps(_plain(item), default=_text, sort_keys=True) for item in value]
        return {type(value).__qualname__: sorted(items)}
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()  # a number of numpy is the number that it holds
    return value


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # an object of the user's
        return type(value).__qualname__
    # The default repr of an object holds its address, which no other process shares.
    return type(value).__qualname__ if " at 0x" in text else text


def architecture_digits(models: Iterable[tuple[str, Any]]) -> str:
    """Eight digits of models: their module classes, parameter and buffer names and shapes."""
    lines = []
    for name, model in models:
        lines.append(str(name))
        if hasattr(model, "named_modules"):
            lines += [f"{path} {type(m).__qualname__}" for path, m in model.named_modules()]
            lines += [f"{p} {_shape(t)} {t.dtype}" for p, t in model.named_parameters()]
            lines += [f"{p} {_shape(t)} {t.dtype}" for p, t in model.named_buffers()]
        else:
            lines.append(type(model).__qualname__)
    return _digits("\n".join(lines)) if lines else _NOTHING


def _shape(tensor: Any) -> str:
    """The shape as text; that of a lazy module's parameter is not known before its first batch."""
    try:
        return str(tuple(tensor.shape))
    except RuntimeError:
        return "lazy"


class DiscardDigest:
    """Eight digits of a set of sample ids, kept up to date by its changes.

    The sum of one hash per id: independent of order, and a change costs only the
    ids that changed.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, sample_id: str) -> None:
        """A sample joined the set."""
        self._sum = (self._sum + self._term(sample_id)) % (1 << 64)

    def remove(self, sample_id: str) -> None:
        """A sample left the set."""
        self._sum = (self._sum - self._term(sample_id)) % (1 << 64)

    @staticmethod
    def _term(sample_id: str) -> int:
        data = sample_id.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")

    @property
    def digits(self) -> str:
        """Eight hexadecimal digits; zeros for the empty set."""
        return _NOTHING if self._sum == 0 else _digits(f"{self._sum:016x}")


def experiment_hash(hyperparameters: str, architecture: str, discarded: str) -> str:
    """The three parts as one hash."""
    return hyperparameters + architecture + discarded


def marker(plain: str, number: int) -> str:
    """The hash under which the results of the evaluation `number` (from 1) of `plain` stand."""
    return f"{plain}_{number}"


def plain_hash(found: str) -> str:
    """The hash of an experiment, of itself or of the marker of one of its evaluations."""
    return found.partition("_")[0]
