"""`watch_or_edit`: one line for each object of a training loop."""

from __future__ import annotations

from typing import Any

from weightslab.capture.watch import watch
from weightslab.session import current, guard_worker

__all__ = ["watch_or_edit"]


def watch_or_edit(
    obj: Any, obj_name: str | None = None, flag: str | None = None, **kwargs: Any
) -> Any:
    """Watch a part of a training loop, and get back what to use in its place.

    Args:
        obj: the object; see the table below for what each flag takes.
        obj_name: its name in the session; also a signal's name where none is given.
        flag: what it is. It may be left out for a `DataLoader`, `Dataset`,
            `Optimizer`, `DictConfig`, a loss of `torch.nn` and a torchmetrics object.
        **kwargs: options of the flag.

    | flag | takes | gives back | options |
    | --- | --- | --- | --- |
    | model | `nn.Module` | the same object | `device` |
    | data, dataset, dataloader | `DataLoader` or `Dataset` | a loader of the same class, whose batches are known by id | `is_training`, `append_ids`, `id_fn`, `ids`, `loader_name`; for a dataset also `batch_size`, `shuffle`, `num_workers`, `collate_fn`, `drop_last` |
    | optimizer | `torch.optim.Optimizer` | the same object | |
    | logger | Lightning logger, `SummaryWriter`, anything with `log`, `log_metrics` or `add_scalar`; None for one of ours | the same object | `log_dir` names the run folder |
    | loss, metric, signal | `nn.Module`, torchmetrics object, function | a module: a shallow copy that shares its parameters; torchmetrics: the same object; a function: a callable | `signal_name` (or `name`), `per_sample`, `per_instance`, `log` |
    | hyperparameters, hp, params, parameters | dict, `DictConfig`, path of a YAML file | a `DictConfig`: your own, or one made of the dict, the file or `defaults` | `defaults`, `poll_interval`, `on_change`, `root_log_dir` (or `log_dir`) |

    A watched loss or metric is called as before and returns what it returned before,
    the same object, whatever its reduction. Of a call over a batch of B samples it
    records one value for each: a result `[B]` or `[B, ...]` (folded by the mean), and
    for the losses of torch also when `reduction` is "mean" or "sum"; their recorded
    values have the mean (or the sum) that you got, and a sample whose every label is
    ignored has none. A dict of results is recorded under `<name>/<key>`. Any other
    single number goes to the curve only, and you are told once how to change that.
    With `per_instance=True` the result is flat `[N]`, one value for each instance of
    the batch, sample by sample.

    The call takes four keywords of ours, which the watched function sees only if it
    declares them: `batch_ids=` (B ids; else those of the batch that a watched loader
    handed out), `batch_idx=` (the batch position of each of N instances; else found
    in a dict argument), and `preds=` and `targets=`, whose latest is kept.

    Hyperparameters come back as a handle that reads like a dict and stays live: read it
    where you use it. `defaults` (a dict) lies under what you give, and types of a
    structured config, struct and read-only flags hold for edits, too. `root_log_dir` and
    `experiment_name` in them name the run folder, until the first value is written. What
    your code writes (`hp.optimizer.lr = 0.01`) counts from the next step on; keep counters
    out of them, for every change is an edit. Text under keys such as `api_key` or
    `password` stands in the journal and the status as `***`.

    A file is looked at every `poll_interval` seconds (1.0), and taken up once it stood
    still for 0.1 s; only what changed in it is changed in the handle, between two training
    steps, so that what your code set stays. A key that goes from it falls back to its
    default, or keeps its last value where it has none. A version that cannot be used (no
    YAML, text where a learning rate was, a value where a section was), or a deleted file,
    leaves the values as they are and is said once; a file that is not there at the start
    needs `defaults`.

    `on_change` is called on the training thread, after watched objects have what they take,
    with a dict of changes by dotted key, such as
    `{"optimizer.lr": Change(before=0.1, after=0.01)}`: `change.before` and `change.after`
    are `MISSING` for a key that came or went. What it edits itself counts with the next
    step, and calls it again. One that raises is said once, and training goes on.

    Whoever edits them, what watched objects take is applied before the next training step:
    `lr` (and what schedulers hold of it, by the same factor), `weight_decay`, `momentum`,
    `betas`, `beta1` and `beta2` of watched optimizers where they held the former value;
    `batch_size` of watched training loaders, from their next epoch on; `is_training`, which
    is one switch with `wl.pause` and `wl.resume`. Usual other spellings (`learning_rate`,
    `wd`) and prefixes (`optimizer.lr`, `data.batch_size`) are understood; a prefix that is
    the name of a watched optimizer or loader means that one. `wl.status()` shows what was
    requested beside what is applied, and why not; every edit is in the journal, and opens a
    new experiment hash.

    Raises:
        UnknownOptionError: a flag or an option that does not exist.
        InputError: an object that is not what the flag says, a flag that is missing, or a file
            that cannot be used.
        LengthMismatchError: from a watched call whose `batch_ids=` is not one for each value.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import torch, weightslab as wl
        >>> model = wl.watch_or_edit(torch.nn.Linear(4, 3), flag="model")
        >>> optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> loss = wl.watch_or_edit(torch.nn.CrossEntropyLoss(), signal_name="train/loss")
        >>> x, y = torch.randn(2, 4), torch.tensor([0, 2])
        >>> loss(model(x), y, batch_ids=["a", "b"]).backward()
        >>> optimizer.step()
    """  # noqa: E501  # a table's rows cannot be broken
    guard_worker("watch_or_edit")
    return watch(current(), obj, obj_name, flag, kwargs)
