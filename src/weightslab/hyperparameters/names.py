"""What a hyperparameter sets, told by its dotted key, and for whom.

The last part of a key says what, in any of its usual spellings (capitals do not count,
and `-` is `_`):

    lr             lr, learning_rate, learningrate, base_lr, initial_lr
    weight_decay   weight_decay, weightdecay, wd
    momentum       momentum
    betas          betas
    beta1, beta2   beta1, beta_1, adam_beta1; beta2, beta_2, adam_beta2
    batch_size     batch_size, batchsize, bs, train_batch_size
    is_training    is_training, without a prefix: elsewhere it is a value like any other

The parts before it say for whom. One that is the name of a watched optimizer, or of a
watched loader for `batch_size`, means that one. Parts that only put things in order
(`optimizer`, `training`, `hparams`, ...) mean all that take it. Any other part means
something that is not watched here (`scheduler.lr`, `teacher.lr`): such a key is left to
the code that reads it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from weightslab.queries.names import origin_spellings

__all__ = ["FOLDER_KEYS", "Meaning", "Setting", "meaning", "nearest"]

Setting = Literal[
    "lr", "weight_decay", "momentum", "betas", "beta1", "beta2", "batch_size", "is_training"
]

FOLDER_KEYS: Final = frozenset({"root_log_dir", "experiment_name"})
"""What names the run folder, and sets nothing else."""

_SPELLINGS: Final[dict[str, Setting]] = {
    "lr": "lr",
    "learning_rate": "lr",
    "learningrate": "lr",
    "base_lr": "lr",
    "initial_lr": "lr",
    "weight_decay": "weight_decay",
    "weightdecay": "weight_decay",
    "wd": "weight_decay",
    "momentum": "momentum",
    "betas": "betas",
    "beta1": "beta1",
    "beta_1": "beta1",
    "adam_beta1": "beta1",
    "beta2": "beta2",
    "beta_2": "beta2",
    "adam_beta2": "beta2",
    "batch_size": "batch_size",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "train_batch_size": "batch_size",
    "is_training": "is_training",
}

_ORDER = frozenset(("args", "cfg", "config", "experiment", "hp", "hparams", "settings")).union(
    ("hyper_parameters", "hyperparameters", "hyperparams", "params", "parameters"),
    ("train", "trainer", "training"),
)
"""Parts of a key that say where it stands in a file, and nothing else."""
_FOR_OPTIMIZERS = _ORDER | {"opt", "optim", "optimizer", "optimizers", "solver"}
"""No names of algorithms: a file with `sgd.lr` and `adam.lr` offers a choice."""
_FOR_LOADERS = _ORDER.union(
    ("data", "data_loader", "data_module", "dataloader", "dataloaders", "datamodule", "dataset"),
    ("loader", "loaders", "train_data", "train_dataloader", "train_loader"),
)
_WITH_MODEL = frozenset(("lr", "weight_decay"))
"""What stands under `model` in the configuration of a LightningModule. Momentum does not:
there it is that of a normalisation."""

_PART = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
"""A part of a dotted key; OmegaConf writes one that holds a dot as `a[b.c]`."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key sets, and for whom."""

    setting: Setting
    name: str | None = None
    """The watched object that it addresses; None: all that take it."""
    foreign: str | None = None
    """The part of the key that means something else, which is not watched."""


def meaning(
    key: str, *, optimizers: Collection[str] = (), loaders: Collection[str] = ()
) -> Meaning | None:
    """What a dotted key means beside watched objects of these names; None for no setting.

    Example:
        >>> from weightslab.hyperparameters.names import meaning
        >>> meaning("optimizer.learning-rate")
        Meaning(setting='lr', name=None, foreign=None)
        >>> meaning("critic.lr", optimizers=["actor", "critic"])
        Meaning(setting='lr', name='critic', foreign=None)
        >>> meaning("scheduler.lr")
        Meaning(setting='lr', name=None, foreign='scheduler')
        >>> meaning("epochs")
    """
    *prefix, last = [quoted or plain for quoted, plain in _PART.findall(key)] or [""]
    setting = _SPELLINGS.get(_plain(last))
    if setting is None or (setting == "is_training" and (prefix or last != setting)):
        return None
    if setting == "is_training":
        return Meaning(setting)
    if setting == "batch_size":
        names, generic = loaders, _FOR_LOADERS
    else:
        names, generic = optimizers, _FOR_OPTIMIZERS
    if setting in _WITH_MODEL:
        generic |= {"model"}
    return _addressed(setting, prefix, names, generic)


def nearest(key: str) -> str | None:
    """The name of a setting that the last part of a key may be a slip of the pen for.

    Example:
        >>> from weightslab.hyperparameters.names import nearest
        >>> nearest("optimizer.lrr"), nearest("epochs")
        ('lr', None)
    """
    *_, last = [quoted or plain for quoted, plain in _PART.findall(key)] or [""]
    if _plain(last) in _SPELLINGS:  # `model.is_training` is a value like any other
        return None
    return next(iter(difflib.get_close_matches(_plain(last), _SPELLINGS, n=1, cutoff=0.75)), None)


def _addressed(
    setting: Setting, prefix: list[str], names: Collection[str], generic: Collection[str]
) -> Meaning:
    whole = ".".join(prefix)
    if whole in names:
        return Meaning(setting, whole)
    found: str | None = None
    for part in prefix:
        name = _named(part, names, spelled=setting == "batch_size")
        if name is not None and found in (None, name):
            found = name
        elif _plain(part) not in generic:
            return Meaning(setting, foreign=part)
    return Meaning(setting, found)


def _named(part: str, names: Iterable[str], *, spelled: bool) -> str | None:
    """The name that a part of a key is; with `spelled`, "train" is also "train_loader"."""
    spellings = {part} | (set(origin_spellings(part)) if spelled else set())
    plain = {_plain(spelling) for spelling in spellings}
    return next(
        (name for name in names if name == part),
        next((name for name in names if _plain(name) in plain), None),
    )


def _plain(part: str) -> str:
    return part.lower().replace("-", "_")
