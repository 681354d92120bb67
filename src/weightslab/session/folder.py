"""Which folder a run is written to, and who said so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightslab.errors import InputError

__all__ = ["ROOT_VARIABLE", "RunFolder"]

ROOT_VARIABLE = "WEIGHTSLAB_ROOT_LOG_DIR"
"""Environment variable that names the run folder when nothing else does."""

_DEFAULT_ROOT = "weightslab_runs"


class RunFolder:
    """The candidates for the run folder, strongest first.

    The session's own argument; `root_log_dir=` beside hyperparameters; `root_log_dir`
    in them; a logger's `log_dir`; the environment; `./weightslab_runs/<experiment_name>`.
    """

    def __init__(self, explicit: str | os.PathLike[str] | None) -> None:
        self.explicit = None if explicit is None else Path(explicit)
        self.argument: Path | None = None
        self.logger: Path | None = None

    def named(self, hyperparameters: Any) -> Path | None:
        """The folder that somebody named; None for the default.

        Raises:
            InputError: `root_log_dir` of the hyperparameters cannot be read.
        """
        given = _value(hyperparameters, "root_log_dir")
        in_them = Path(str(given)) if given else None
        variable = os.environ.get(ROOT_VARIABLE)
        by_environment = Path(variable) if variable else None
        candidates = (self.explicit, self.argument, in_them, self.logger, by_environment)
        return next((path for path in candidates if path is not None), None)

    def root(self, hyperparameters: Any) -> Path:
        """The folder.

        Raises:
            InputError: an experiment name that would lead out of the folder of runs, or
                that cannot be read.
        """
        named = self.named(hyperparameters)
        if named is not None:
            return named
        name = str(_value(hyperparameters, "experiment_name") or "default")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(
                f"the experiment name {name!r} leads out of ./{_DEFAULT_ROOT}: choose a plain "
                f"name, or name the folder with root_log_dir"
            )
        return Path(_DEFAULT_ROOT) / name


def _value(hyperparameters: Any, name: str) -> Any:
    if not isinstance(hyperparameters, Mapping):
        return None
    try:
        return hyperparameters.get(name)
    except Exception as error:  # an interpolation that leads nowhere, or a mapping of the user's
        raise InputError(
            f"{name} of the hyperparameters cannot be read ({type(error).__name__}: {error}): "
            f"write it out, or leave it away"
        ) from error
