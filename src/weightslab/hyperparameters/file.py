"""A YAML file that hyperparameters come from: its last good version, and what is written to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import MISSING, Missing, dotted, leaves, same
from weightslab.hyperparameters.mould import Edit
from weightslab.hyperparameters.paths import laid_over, put
from weightslab.hyperparameters.sources import Signature, read_bytes, signature, tree_of_yaml
from weightslab.hyperparameters.writing import changed_tree, changed_yaml
from weightslab.notices import Notices

__all__ = ["YamlFile"]

_SETTLE_S = 0.1
"""How long a file must stand still: a valid prefix of a half-written one is no version."""
_SETTLE_TRIES = 50
_WRITE_TRIES = 3


class YamlFile:
    """Follows one file. Paths are made absolute at once: scripts change the working directory.

    Args:
        path: the file; links are followed each time.
        defaults: what lies under it.

    Raises:
        InputError: it is not there, or empty, and nothing lies under it, or it cannot be used.
    """

    def __init__(
        self, path: str | os.PathLike[str], defaults: Mapping[Any, Any] | None, notices: Notices
    ) -> None:
        self.path = Path(path).absolute()
        self.state = "followed"
        """"followed", "missing" or "invalid": what the file is now."""
        self.error: str | None = None
        """Why it cannot be used now."""
        self.errors = 0
        """Number of versions that could not be used."""
        self._notices = notices
        self._defaults = {} if defaults is None else defaults
        self._seen = signature(self.path)
        self._digest = b""
        self.tree: dict[Any, Any] = {}
        """What the last good version says."""
        try:
            data = read_bytes(self.path)
        except FileNotFoundError:
            if defaults is None:
                raise InputError(
                    f"there is no file {self.path}: create it, or give defaults= to begin with "
                    f"until it is there"
                ) from None
            self.state = "missing"
            self._say_missing("the defaults hold")
        else:
            tree = tree_of_yaml(data, str(self.path))
            if tree is None and defaults is None:
                raise self._is_empty()
            self.tree, self._digest = tree or {}, _digest(data)

    def _is_empty(self) -> InputError:
        return InputError(f"{self.path} is empty: expected `key: value` lines; {{}} for none")

    # -- what others wrote ------------------------------------------------------------

    def settled(self, wait: Callable[[float], bool]) -> bytes | None:
        """A version that was not looked at yet and stands still; None where there is none.

        `wait` waits for a number of seconds, and says whether to give up.
        """
        found = signature(self.path)
        if found == self._seen:
            return None
        for _ in range(_SETTLE_TRIES):
            if wait(_SETTLE_S):
                return None
            before, found = found, signature(self.path)
            if found == before:
                return self._read(found)
        return None

    def _read(self, found: Signature | None) -> bytes | None:
        try:
            data = read_bytes(self.path)
        except FileNotFoundError:
            self._seen, self.state = None, "missing"
            self._say_missing("the last values hold")
            return None
        except InputError as error:
            self._seen = found
            self.refuse(str(error).encode(), error)
            return None
        if signature(self.path) != found:  # written while it was read: looked at again
            return None
        self._seen = found
        self._notices.forget(("hyperparameters missing", str(self.path)))
        return data

    def _say_missing(self, what: str) -> None:
        self._notices.warn_once(
            ("hyperparameters missing", str(self.path)),
            f"there is no file {self.path}: {what} until it is there",
        )

    def wanted(self, data: bytes) -> Edit | None:
        """What a version changes against the last good one; None where that is nothing.

        A key that went falls back to its default. Where it has none, its last value stays:
        code of the training reads it, and would end the training.

        Raises:
            InputError: it cannot be used.
        """
        if _digest(data) == self._digest:
            self._follow()
            return None
        tree = tree_of_yaml(data, str(self.path))
        if tree is None:
            # An editor that died, or a full disk: nobody means to unset everything so.
            raise self._is_empty()
        before, after = self._over_defaults(self.tree), self._over_defaults(tree)
        for path, value in self._gone(before, after).items():
            put(after, path, value)
        return Edit(before, after, "file")

    def _gone(self, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
        """Values, by path, that are not there any more, nor anything in their place."""
        return {
            path: value for path, value in leaves(before) if path and _stops(after, path) is MISSING
        }

    def _over_defaults(self, tree: Mapping[Any, Any]) -> dict[Any, Any]:
        return laid_over(self._defaults, tree)

    def accept(self, data: bytes) -> None:
        """Make a version the last good one; what went from it is said."""
        tree = tree_of_yaml(data, str(self.path)) or {}
        gone = self._gone(self._over_defaults(self.tree), self._over_defaults(tree))
        for key in map(dotted, gone):
            self._notices.warn_once(
                ("hyperparameter gone", key),
                f"{key} is not in {self.path} any more: it keeps its last value in this launch",
            )
        self.tree, self._digest = tree, _digest(data)
        self._follow()

    def _follow(self) -> None:
        self.state, self.error = "followed", None

    def refuse(self, data: bytes, error: Exception) -> None:
        """Keep the last good version; each other one is said once."""
        self.state, self.error = "invalid", str(error)
        self.errors += 1
        self._notices.warn_once(
            ("hyperparameters invalid", str(self.path), _digest(data).hex()),
            f"the hyperparameters stay as they are, since a change of their file cannot be used: "
            f"{error}",
        )

    # -- what we write ----------------------------------------------------------------

    def write(self, changes: Mapping[tuple[Any, ...], Any | Missing]) -> None:
        """Write changed values into the file, by one rename; our own echo changes nothing.

        A link stays one: its target is replaced. Comments stay where scalars change, see
        `changed_yaml`; where they cannot, that is said.

        Raises:
            InputError: the file is invalid as it stands, or cannot be written.
        """
        for _ in range(_WRITE_TRIES):
            seen = signature(self.path)
            try:
                data = read_bytes(self.path)
            except FileNotFoundError:
                self._notices.warn_once(
                    ("hyperparameters unwritten", str(self.path)),
                    f"there is no file {self.path}: an edit holds in this process alone",
                )
                return
            changed, kept = changed_yaml(data, str(self.path), changes)
            if self._replaced(changed, seen):
                break
        else:
            raise InputError(f"{self.path} is being written by somebody else: try again")
        if not kept:
            self._notices.warn_once(
                ("hyperparameters comments", str(self.path)),
                f"{self.path} was written anew for an edit: comments in it are lost",
            )
        if same(tree_of_yaml(data, str(self.path)) or {}, self.tree):
            self._digest = _digest(changed)
        self.tree = changed_tree(self.tree, changes)

    def _replaced(self, data: bytes, seen: Signature | None) -> bool:
        """Whether the file was replaced; not where somebody else wrote it meanwhile."""
        target = Path(os.path.realpath(self.path))
        temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            owned = target.stat()
            with temporary.open("wb") as stream:
                with contextlib.suppress(OSError):  # only root gives a file to somebody else
                    os.fchown(stream.fileno(), owned.st_uid, owned.st_gid)
                os.fchmod(stream.fileno(), owned.st_mode & 0o7777)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if signature(self.path) != seen:
                return False
            temporary.replace(target)
        except OSError as error:
            raise InputError(
                f"{target} cannot be written ({os.strerror(error.errno or 0)}): nothing was changed"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True


def _stops(tree: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a path, or at the part of it that is no mapping; `MISSING` for nothing."""
    for key in path:
        if not isinstance(tree, Mapping):
            return tree
        tree = tree.get(key, MISSING)
    return tree


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()
