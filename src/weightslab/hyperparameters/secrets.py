"""Values that are nobody else's business: kept out of the journal and the status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["veiled"]

VEIL = "***"

_SECRET = re.compile(
    r"(^|.*[_-])(password|passwd|secret|credentials?|api_?key|access_?key|secret_?key|private_?key"
    r"|(api|auth|access|bearer|refresh|hf|github|wandb|neptune|comet|slack)_?token)$|token$",
    re.IGNORECASE,
)
"""The last part of a key; `pad_token` and `max_tokens` are no secrets."""


def veiled(key: Any, value: Any) -> Any:
    """`value`, or `***` for text (or bytes) under a key that names a secret, at any depth.

    Example:
        >>> from weightslab.hyperparameters.secrets import veiled
        >>> veiled("wandb.api_key", "a1b2"), veiled("tokenizer.pad_token", "<pad>")
        ('***', '<pad>')
    """
    if isinstance(value, Mapping):
        return {inner: veiled(inner, one) for inner, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [veiled(key, one) for one in value]
    last = str(key).rpartition(".")[2].rstrip("]").replace("-", "_")
    is_secret = isinstance(value, (str, bytes)) and _SECRET.match(last) is not None
    return VEIL if is_secret else value
