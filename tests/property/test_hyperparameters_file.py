"""A file that is written, broken, deleted and replaced while a real training follows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.property.support import folder
from weightslab.session import current

Seen = tuple[int, float, float, list[int]]


def _whole(version: int) -> Seen:
    """What a training may see of a version: all of its values, or none."""
    return version, version / 1000, version / 10, [version] * 3


def _text(version: int) -> bytes:
    # In brackets, so that every prefix of it is no YAML: a version counts only as a whole.
    number, lr, wd, sizes = _whole(version)
    return f"{{version: {number}, opt: {{lr: {lr}, wd: {wd}, sizes: {sizes}}}}}\n".encode()


def _byte_by_byte(path: Path, version: int) -> None:
    with path.open("wb", buffering=0) as stream:
        for byte in _text(version):
            stream.write(bytes([byte]))
            time.sleep(0.0005)


def _by_rename(path: Path, version: int) -> None:
    path.with_name("new").write_bytes(_text(version))
    path.with_name("new").replace(path)


def _by_editor(path: Path, version: int) -> None:
    if path.exists():
        path.replace(path.with_name("backup"))
    path.write_bytes(_text(version))


def _as_a_link(path: Path, version: int) -> None:
    path.with_name(f"v{version}").write_bytes(_text(version))
    path.with_name("link").symlink_to(f"v{version}")
    path.with_name("link").replace(path)


def _invalid(path: Path, version: int) -> None:
    path.with_name("broken").write_bytes(_text(version).replace(b"}", b"", 1))
    path.with_name("broken").replace(path)


def _truncated(path: Path, version: int) -> None:
    path.with_name("cut").write_bytes(_text(version)[: version % 20])
    path.with_name("cut").replace(path)


def _deleted(path: Path, _: int) -> None:
    path.unlink(missing_ok=True)


WAYS = (
    _byte_by_byte, _by_rename, _by_editor, _as_a_link, _invalid, _truncated, _deleted,
)  # fmt: skip
WHOLE = (_byte_by_byte, _by_rename, _by_editor, _as_a_link)


def _trained(
    path: Path, root: Path, last: int, begin: Callable[[], None]
) -> tuple[list[Seen], int]:
    """What each step of a training saw, and the version at its end: the last, or a minute on."""
    hp = wl.watch_or_edit(path, flag="hp", poll_interval=0.01, root_log_dir=root)
    model = nn.Linear(2, 1)
    optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=hp.opt.lr))
    data = TensorDataset(torch.randn(8, 2), torch.randn(8, 1))
    loader = wl.watch_or_edit(DataLoader(data, batch_size=4), flag="data")
    loss_of = wl.watch_or_edit(nn.MSELoss(reduction="none"), flag="loss", signal_name="loss")
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    seen: list[Seen] = []
    begin()
    end = time.monotonic() + 60
    while hp.version != last and time.monotonic() < end:
        for x, y, _ in loader:
            hyperparameters.take()  # the top of a step
            version, opt = hp.version, hp.opt
            loss_of(model(x), y).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.append((version, opt.lr, hp["opt"]["wd"], list(opt.sizes)))
    return seen, hp.version


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from([0.0, 0.15])), max_size=5),
    st.sampled_from(WHOLE),
)
def test_a_training_sees_only_whole_versions(
    acts: list[tuple[Callable[[Path, int], None], float]],
    finally_: Callable[[Path, int], None],
) -> None:
    """Whatever happens to the file, each step has one version, and the last one arrives."""
    with folder() as root:
        path = root.parent / "c.yaml"
        path.write_bytes(_text(1))
        last = len(acts) + 2

        def write() -> None:
            for version, (act, pause_s) in enumerate(acts, 2):
                act(path, version)
                time.sleep(pause_s)
            finally_(path, last)

        writer = threading.Thread(target=write)
        seen, arrived = _trained(path, root, last, writer.start)
        writer.join()
        wl.reset()
    broken = {n for n, (act, _) in enumerate(acts, 2) if act not in WHOLE}
    versions = [version for version, *_ in seen]
    assert all(one == _whole(one[0]) for one in seen)
    assert versions == sorted(versions)
    assert not broken.intersection(versions)
    assert arrived == last
