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


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[number]


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


def test_what_the_readme_does_while_a_training_runs(tmp_path: Path) -> None:
    """Its signals, its evaluation and its file of hyperparameters, before an epoch of a loop."""
    data = TensorDataset(torch.randn(40, 4), torch.randint(3, (40,)))
    (tmp_path / "config.yaml").write_text("experiment_name: digits\nlr: 1e-3\n")
    loss = wl.watch_or_edit(torch.nn.CrossEntropyLoss(), flag="loss", signal_name="train/loss")
    names = {
        "torch": torch,
        "wl": wl,
        "model": wl.watch_or_edit(torch.nn.Linear(4, 3), flag="model"),
        "loader": wl.watch_or_edit(DataLoader(data, batch_size=10), flag="data"),
        "val_loader": DataLoader(data, batch_size=10),
    }
    exec(compile(block("python", 1), "README.md", "exec"), names)
    for _ in range(2):
        for inputs, labels, ids in names["loader"]:
            loss(names["model"](inputs), labels, batch_ids=ids).backward()
            names["optimizer"].step()
    assert len(wl.query_signal_history("forgotten")) == 40
    brightness = wl.samples(origin="train")["signals//brightness"]
    assert brightness.to_list() == data.tensors[0].mean(1).tolist()
    assert wl.history("train/loss", kind="global")["experiment_hash"].str.contains("_1").sum() == 1


def test_every_command_of_the_readme_is_one() -> None:
    """Each `weightslab <word>` that the README names is a command."""
    named = set(re.findall(r"(?:`|&& )weightslab ([a-z]+)", README))
    assert {"copy", "demo", "fsck"} <= named
    assert named <= set(app.list_commands(click.Context(app)))
