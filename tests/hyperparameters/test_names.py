"""What a dotted key of the hyperparameters sets, and for whom."""

from __future__ import annotations

import pytest

from weightslab.hyperparameters.names import Meaning, meaning, nearest


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("lr", "lr"),
        ("learning_rate", "lr"),
        ("learning-rate", "lr"),
        ("Learning_Rate", "lr"),
        ("SOLVER.BASE_LR", "lr"),
        ("model.optimizer.lr", "lr"),
        ("optim.wd", "weight_decay"),
        ("training.weight-decay", "weight_decay"),
        ("hparams.momentum", "momentum"),
        ("optimizer.betas", "betas"),
        ("adam_beta1", "beta1"),
        ("beta_2", "beta2"),
        ("data.batch_size", "batch_size"),
        ("bs", "batch_size"),
        ("dataloader.batch-size", "batch_size"),
        ("is_training", "is_training"),
    ],
)
def test_usual_spellings_mean_a_setting_of_all(key: str, setting: str) -> None:
    """The last part says what, a prefix that only puts things in order changes nothing."""
    assert meaning(key) == Meaning(setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "key", ["epochs", "lr_decay", "max_lr", "optimizer", "", "lr.x", "train.is_training", "a.b.c"]
)
def test_any_other_key_means_no_setting(key: str) -> None:
    """What is no setting is left to the code that reads it."""
    assert meaning(key) is None


@pytest.mark.parametrize(
    ("key", "foreign"),
    [
        ("scheduler.lr", "scheduler"),
        ("teacher.optimizer.lr", "teacher"),
        ("adam.lr", "adam"),
        ("model.momentum", "model"),
        ("data.lr", "data"),
        ("optimizer.batch_size", "optimizer"),
        ("val.batch_size", "val"),
        ("critic.actor.lr", "actor"),
        ("optimizer[a.b].lr", "a.b"),
    ],
)
def test_a_prefix_of_something_else_is_named(key: str, foreign: str) -> None:
    """A part that is no watched object and puts nothing in order is what the key is about."""
    found = meaning(key, optimizers=["critic", "actor"], loaders=["train"])
    assert found is not None
    assert found.foreign == foreign


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("critic.lr", "critic"),
        ("optimizers.critic.weight_decay", "critic"),
        ("training.Critic.lr", "critic"),
        ("gan.d.lr", "gan.d"),
        ("my-opt.lr", "my_opt"),
        ("optimizer.lr", "optimizer"),
    ],
)
def test_the_name_of_an_optimizer_addresses_it(key: str, name: str) -> None:
    """A watched object's name in the prefix means that one, also where the word is a usual one."""
    names = ["critic", "actor", "gan.d", "my_opt", "optimizer"]
    found = meaning(key, optimizers=names)
    assert found is not None
    assert (found.name, found.foreign) == (name, None)


def test_a_loader_is_found_by_both_spellings_of_its_name() -> None:
    """`train` finds a loader called `train_loader`, as everywhere; so does the reverse."""
    for key, loader in (("train.batch_size", "train_loader"), ("val_loader.bs", "val")):
        found = meaning(key, loaders=["other", loader])
        assert found == Meaning("batch_size", loader)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("optimizer.lrr", "lr"),
        ("learnin_rate", "learning_rate"),
        ("data.batchsz", "batchsize"),
        ("epochs", None),
        ("optimizer.lr", None),
        ("model.is_training", None),
        ("", None),
    ],
)
def test_the_setting_that_may_be_meant(key: str, name: str | None) -> None:
    """A slip of the pen is near to one name; a name that is right, or any other key, to none."""
    assert nearest(key) == name
