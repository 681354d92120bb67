"""Which folder a run is written to, and who said so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightslab.errors import InputError
from weightslab.types import check_text

__all__ = ["ROOT_VARIABLE", "RunFolder", "folder_path"]

ROOT_VARIABLE = "WEIGHTSLAB_ROOT_LOG_DIR"
"""Environment variable that names the run folder when nothing else does."""

_DEFAULT_ROOT = "weightslab_runs"


class RunFolder:
    """The candidates for the run folder, strongest first.

    The session's own argument; `root_log_dir=` beside hyperparameters; `root_log_dir`
    in them; a logger's `log_dir`; the environment; `./weightslab_runs/<experiment_name>`.
    """

    def __init__(self, explicit: str | os.PathLike[str] | None) -> None:
        self.explicit = None if explicit is None else folder_path(explicit, "root_log_dir")
        self.argument: Path | None = None
        self.logger: Path | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether a session's argument or a logger names it: that names an experiment, too."""
        return self.explicit is not None or self.logger is not None

    def named(self, hyperparameters: Any) -> Path | None:
        """The folder that somebody named; None for the default.

        Raises:
            InputError: `root_log_dir` of the hyperparameters cannot be read.
        """
        given = _value(hyperparameters, "root_log_dir")
        in_them = folder_path(str(given), "root_log_dir of the hyperparameters") if given else None
        variable = os.environ.get(ROOT_VARIABLE)
        by_environment = folder_path(variable, ROOT_VARIABLE) if variable else None
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
        folder_path(name, "experiment_name of the hyperparameters")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(
                f"the experiment name {name!r} leads out of ./{_DEFAULT_ROOT}: choose a plain "
                f"name, or name the folder with root_log_dir"
            )
        return Path(_DEFAULT_ROOT) / name


def folder_path(folder: Any, what: str) -> Path:
    """A folder's name as a path.

    Raises:
        InputError: it is no text or path, empty, or no name that a file system can hold.
    """
    text = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"{what} is the name or path of a folder, not {folder!r}")
    check_text(text, what)
    scheme, mark, _ = text.partition(":/")
    if mark and scheme.isalnum() and len(scheme) > 1:
        raise InputError(
            f"{what} is {text!r}, which is no folder of this machine: give one; "
            f"`weightslab copy` fetches a closed run from an object store, and brings it there"
        )
    return Path(text)


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
