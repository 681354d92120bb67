"""Compare what a folder shows with what was acknowledged, through the public verbs."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

import weightslab as wl
from tests.crash import plan
from tests.crash.board import ROLES, Board

__all__ = ["check"]

Ints = npt.NDArray[np.int64]


class _Known:
    """Which calls must be there, which may be, at the time of a look."""

    def __init__(self, board: Board) -> None:
        # Done before doubts: a call in doubt is noted before done moves past it.
        self._done = board.done.copy()
        self._doubts = [board.doubts(role) for role in range(ROLES)]
        self._board = board

    def last(self, role: int) -> int:
        """The last call that can have happened by now."""
        return int(self._board.begun[role])

    def required(self, role: int, calls: Ints) -> npt.NDArray[np.bool_]:
        """Which of `calls` were acknowledged before the look."""
        return (calls <= self._done[role]) & ~np.isin(calls, self._doubts[role])


def check(board: Board, session: wl.Session, *, living: bool) -> int:
    """Look once at everything; gives how many rows were compared.

    Raises AssertionError, which says what is lost, doubled or wrong.
    """
    known = _Known(board)
    losses, scores = wl.history("loss"), wl.history("acc")
    instances = wl.history("iou", kind="instance")
    curves = wl.history(("loss", "lr"), kind="global")
    table = wl.samples()
    for role in range(ROLES):
        last = known.last(role)
        saved = plan.expected_losses(last)
        _compare("loss", role, losses, saved, known)
        both = np.isin(saved.call % plan.CYCLE, (0, 6))
        paired = plan.Saved(saved.call[both], saved.sample[both], saved.annotation[both])
        _compare("acc", role, scores, paired, known)
        _compare("iou", role, instances, plan.expected_instances(last), known)
        _compare_curves(role, curves, saved.call, plan.expected_scalars(last), known)
        _compare_states(role, table, known)
        _compare_arrays(role, table, known)
    if not living:
        # Beside a writer, the two frames are not of one moment.
        _compare_latest(table, losses)
    said = session.notices.messages()
    assert not said, f"the reader said: {said}"
    return sum(map(len, (losses, scores, instances, curves, table)))


def _of_role(frame: pl.DataFrame, role: int) -> pl.DataFrame:
    return frame.filter(pl.col("step") % ROLES == role).with_columns(call=pl.col("step") // ROLES)


def _compare(what: str, role: int, frame: pl.DataFrame, saved: plan.Saved, known: _Known) -> None:
    """Every acknowledged row once, no other than what was begun, each under its id."""
    found = _of_role(frame, role)
    sample = _samples(found, role)
    step = found["step"].to_numpy()
    value = found["value"].to_numpy()
    annotation = np.zeros(len(found), np.int64)
    if what == "iou":
        annotation = found["annotation_id"].to_numpy().astype(np.int64)
    right = {"loss": step, "acc": step + sample / plan.POOL, "iou": step + annotation / 4}[what]
    _none(f"{what} of role {role}: wrong value", step[value != right])
    expected = _key(saved.call, saved.sample, saved.annotation)
    there = _key(found["call"].to_numpy(), sample, annotation)
    keys, counts = np.unique(there, return_counts=True)
    _none(f"{what} of role {role}: doubled, at call", keys[counts > 1] >> 16)
    _none(f"{what} of role {role}: never saved, at call", np.setdiff1d(keys, expected) >> 16)
    missing = np.setdiff1d(expected, keys) >> 16
    _none(f"{what} of role {role}: lost, at call", missing[known.required(role, missing)])
    torn = np.intersect1d(missing, keys >> 16)
    _none(f"{what} of role {role}: half of a call is there", torn)


def _samples(found: pl.DataFrame, role: int) -> Ints:
    """Ids as the plan's numbers; -1 for one that no call of `role` can have saved."""
    name = pl.col("sample_id")
    place = pl.coalesce(
        name.str.extract(r"^train/(\d+)$").cast(pl.Int64),
        name.str.extract(rf"^own{role}/(\d+)$").cast(pl.Int64) + plan.OWN,
        pl.when(name == pl.format(f"new{role}-{{}}", "call")).then(plan.NEW),
        pl.lit(-1),
    )
    numbers: Ints = found.select(place.cast(pl.Int64)).to_series().to_numpy()
    return numbers


def _key(call: Ints, sample: Ints, annotation: Ints) -> Ints:
    keys: Ints = (call << 16) | (sample << 4) | annotation
    return keys


def _compare_curves(
    role: int, frame: pl.DataFrame, loss_calls: Ints, scalar_calls: Ints, known: _Known
) -> None:
    """One point a step; a mean of as many values as the call saved."""
    calls, saved = np.unique(loss_calls, return_counts=True)
    every = (("loss", calls, saved), ("lr", scalar_calls, np.zeros_like(scalar_calls)))
    for name, expected, counts in every:
        found = _of_role(frame.filter(pl.col("signal") == name), role).sort("step")
        what = f"curve {name} of role {role}"
        there = found["call"].to_numpy()
        step = found["step"].to_numpy()
        _none(f"{what}: wrong value at step", step[found["value"].to_numpy() != step])
        _none(f"{what}: doubled, at call", there[1:][there[1:] == there[:-1]])
        _none(f"{what}: never saved, at call", np.setdiff1d(there, expected))
        missing = np.setdiff1d(expected, there)
        _none(f"{what}: lost, at call", missing[known.required(role, missing)])
        sizes = counts[np.searchsorted(expected, there)]
        means_of = found["count"].fill_null(0).to_numpy()
        _none(f"{what}: wrong count, at call", there[means_of != sizes])


def _compare_states(role: int, table: pl.DataFrame, known: _Known) -> None:
    """Tags and discards are what the newest acknowledged edit says, or a later one."""
    for column, kind in (("tag:hit", 4), ("discarded", 5)):
        flags = _column(table, "train/", column)
        last = known.last(role)
        edits = np.arange(kind, last + 1, plan.CYCLE, dtype=np.int64)
        required = known.required(role, edits)
        newest: dict[int, set[bool]] = {}
        for k, sure in zip(edits.tolist(), required.tolist(), strict=True):
            sample, state = plan.edited(role, k)
            held = newest.setdefault(sample, {False})
            newest[sample] = {state} if sure else held | {state}
        wrong = [s for s, states in newest.items() if bool(flags.get(s)) not in states]
        _none(f"{column} of role {role}: wrong, at sample", wrong)


def _compare_arrays(role: int, table: pl.DataFrame, known: _Known) -> None:
    """The newest acknowledged array of each sample, or a newer one."""
    texts = _column(table, f"own{role}/", "prediction")
    calls = np.arange(3, known.last(role) + 1, plan.CYCLE, dtype=np.int64)
    required = known.required(role, calls)
    # By sample: the newest that was acknowledged (-1: none), and all that came after it.
    allowed: dict[int, list[int]] = {}
    for k, sure in zip(calls.tolist(), required.tolist(), strict=True):
        for sample in plan.array_samples(k).tolist():
            held = [] if sure else allowed.get(sample, [-1])
            allowed[sample] = [*held, int(plan.step_of(role, k))]
    for sample, steps in allowed.items():
        text = texts.get(sample)
        if text is None:
            assert -1 in steps, f"array of sample {sample} is lost: expected one of {steps}"
            continue
        value = json.loads(text)
        assert value[0] in steps, f"array of own{role}/{sample} is {value}, expected of {steps}"
        assert value == [value[0]] * plan.ARRAY_LENGTH, f"array of sample {sample} is {value}"


def _compare_latest(table: pl.DataFrame, losses: pl.DataFrame) -> None:
    """The latest value is the newest of the history, by launch, then step."""
    latest = _column(table, "train/", "signals//loss")
    newest = losses.sort("launch", "step").group_by("sample_id").agg(pl.col("value").last())
    expected = dict(newest.rows())
    wrong = [s for s, value in latest.items() if value != expected.get(f"train/{s}")]
    _none("latest loss: wrong, at sample", wrong)


def _column(table: pl.DataFrame, prefix: str, column: str) -> dict[int, object]:
    """A column of the samples "<prefix><place>" by place; empty where nobody saved it yet."""
    if column not in table.columns:
        return {}
    chosen = (pl.col("annotation_id") == 0) & pl.col("sample_id").str.starts_with(prefix)
    named = table.filter(chosen)
    places = named["sample_id"].str.strip_prefix(prefix).cast(pl.Int64)
    return dict(zip(places.to_list(), named[column].to_list(), strict=True))


def _none(what: str, cases: Iterable[int] | Ints) -> None:
    few = sorted({int(case) for case in cases})
    assert not few, f"{what} {few[:8]}{f' and {len(few) - 8} more' if len(few) > 8 else ''}"
