"""Whose an unfinished file is, read off its name: `<host>-<process>-<start>-<token>-<name>`.

A process number alone says little: in a container every life has the same one, and on a
shared disk it is another machine's. So a name tells the host (this boot of this machine, and
the numbering of processes there), and when the process was started.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

__all__ = ["is_left_over", "unfinished_name"]

_OLD_S = 24 * 3600.0
"""Age at which an unfinished file of another host is left over: nothing takes that long."""
_NAME = re.compile(r"^(?P<host>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)-[0-9a-f]{12}-")


def unfinished_name(name: str) -> str:
    """A name that nobody had before, for a file of this process that will be called `name`."""
    return f"{_owner(os.getpid())}-{secrets.token_hex(6)}-{name[-80:]}"


def is_left_over(path: Path) -> bool:
    """Whether the process that began an unfinished file is gone; of another host's: it is old."""
    found = _NAME.match(path.name)
    if found is not None and found["host"] == _host():
        return _started(int(found["process"])) != found["start"]
    try:
        return time.time() - path.stat().st_mtime > _OLD_S
    except FileNotFoundError:
        return False


@functools.lru_cache(maxsize=1)
def _owner(process: int) -> str:
    return f"{_host()}-{process}-{_started(process) or 0}"


@functools.cache
def _host() -> str:
    """Where process numbers mean the same: this boot, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        numbering = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, numbering = socket.gethostname(), ""
    text = f"{boot}/{numbering}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _started(process: int) -> str | None:
    """When a living process was started, in ticks; None: it is gone. "0": it cannot be told."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    try:
        state, *words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return "0"
    # Dead, and nobody asked how it ended: containers without an init keep such.
    return None if state == "Z" else words[18]
