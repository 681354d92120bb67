"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import duckdb
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.cli.app import app

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_loop_and_the_query_of_the_readme_run(tmp_path: Path) -> None:
    """The README's loop trains and records, and its DuckDB query ranks what it left."""
    data = TensorDataset(torch.randn(40, 4), torch.randint(3, (40,)))
    names = {
        "Net": lambda: torch.nn.Linear(4, 3),
        "loader": DataLoader(data, batch_size=10, shuffle=True),
    }
    exec(compile(block("python"), "README.md", "exec"), names)
    assert wl.history("train/loss").height == 40
    assert wl.get_samples_by_tag("odd") == wl.get_discarded_samples() == ["train/17"]
    assert (tmp_path / "losses.csv").read_text().count("\n") == 41
    wl.reset()
    ranked = duckdb.sql(block("sql")).fetchall()
    assert len(ranked) == 10
    assert ranked == sorted(ranked, key=lambda row: -row[1])


def test_every_command_of_the_readme_is_one() -> None:
    """Each `weightslab <word>` that the README names is a command."""
    named = set(re.findall(r"(?:`|&& )weightslab ([a-z]+)", README))
    assert {"copy", "demo", "fsck"} <= named
    assert named <= set(app.list_commands(click.Context(app)))
