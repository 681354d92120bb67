"""Which values are secrets."""

from __future__ import annotations

from typing import Any

import pytest

from weightslab.hyperparameters.secrets import veiled


@pytest.mark.parametrize(
    "key",
    ["api_key", "wandb.api-key", "OPENAI_API_KEY", "db.password", "token", "hub.hf_token",
     "client_secret", "aws.secret_key", "[a.b].credentials"],
)  # fmt: skip
def test_secrets_are_veiled(key: str) -> None:
    """Text under such a key shows as three stars, in lists and dicts too."""
    assert veiled(key, "x1") == "***"
    assert veiled("list", [{key.rpartition(".")[2]: ["x1"], "lr": 1}]) == [
        {key.rpartition(".")[2]: ["***"], "lr": 1}
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.1), ("pad_token", "<pad>"), ("max_tokens", "9"), ("key", "x"), ("tokenizer", "bpe"),
     ("token", None), ("password", True), ("secretary", "x"), ("num_token", 3)],
)  # fmt: skip
def test_others_are_shown(key: str, value: Any) -> None:
    """Words of the field stay readable, and so do switches and nothing."""
    assert veiled(key, value) == value
