"""Where a run folder may lie: in a local folder, or in a bucket of S3."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import ArrowException, fs

from weightslab.errors import FolderError
from weightslab.ledger.files import Files
from weightslab.maintenance.tree import walk

__all__ = ["Held", "Place", "place_of"]

_CHUNK = 8 << 20


class Held(NamedTuple):
    """A file of a place."""

    size_bytes: int
    changed_ns: int
    """When it was written, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is read and written through pyarrow's file systems."""

    files: Any
    path: str
    shown: str
    """How messages call it: a URI stands here without its query, which may hold secrets."""
    local: Path | None = None

    def _at(self, relative: str) -> str:
        return f"{self.path}/{relative}"

    def listing(self) -> dict[str, Held]:
        """Every file by its path inside; empty when the folder does not exist."""
        if self.local is not None:
            found = {}
            for entry in walk(self.local).entries:
                status = entry.path.lstat()
                if entry.path.is_file() and not entry.path.is_symlink():
                    found[entry.relative] = Held(status.st_size, status.st_mtime_ns)
            return found
        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=True)
        return {
            info.path.removeprefix(self.path).lstrip("/"): Held(info.size, info.mtime_ns)
            for info in self.files.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    def read(self, relative: str) -> bytes:
        """A whole small file."""
        with self.files.open_input_stream(self._at(relative), compression=None) as stream:
            content: bytes = stream.read()
        return content

    def write(self, relative: str, content: bytes) -> None:
        """Write a small file whole."""
        if self.local is not None:
            self._publish(relative, lambda stream: stream.write(content))
            return
        with self.files.open_output_stream(self._at(relative), compression=None) as stream:
            stream.write(content)

    def take(self, source: Place, relative: str) -> None:
        """Copy one file of another place."""
        # Without `compression=None` a name that ends in .gz would be packed or unpacked.
        with source.files.open_input_stream(source._at(relative), compression=None) as stream:
            if self.local is not None:
                self._publish(relative, lambda out: shutil.copyfileobj(stream, out, _CHUNK))
                return
            with self.files.open_output_stream(self._at(relative), compression=None) as out:
                shutil.copyfileobj(stream, out, _CHUNK)

    def _publish(self, relative: str, write: Any) -> None:
        assert self.local is not None
        Files().publish(self.local / "_tmp", self.local / relative, write)

    def remove(self, relative: str) -> None:
        """Remove a file."""
        self.files.delete_file(self._at(relative))

    def read_json(self, relative: str) -> Any:
        """A small JSON file. Raises ValueError when it is none."""
        try:
            return json.loads(self.read(relative))
        except RecursionError as error:
            raise ValueError("it nests too deeply") from error


def place_of(named: str) -> Place:
    """The place behind a path, or a URI that begins with s3://.

    Credentials, region and endpoint come from the URI's query and the environment, as
    pyarrow takes them.

    Raises:
        FolderError: it is neither.
    """
    scheme, separator, rest = named.partition("://")
    if not separator:
        local = Path(named).resolve()
        return Place(fs.LocalFileSystem(), str(local), named, local)
    if scheme != "s3":
        raise FolderError(f"{scheme}:// is not known: name a folder, or s3://<bucket>/<path>")
    shown = f"s3://{rest.partition('?')[0].rpartition('@')[2]}"
    try:
        files, path = fs.FileSystem.from_uri(named)
    except (ArrowException, ValueError, OSError) as error:
        raise FolderError(f"{shown} cannot be opened: {error}") from error
    return Place(files, path.rstrip("/"), shown)
