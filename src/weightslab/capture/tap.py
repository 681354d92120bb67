"""One call of a watched loss or metric: whose values are these, and where do they go.

The result itself is never touched. What cannot be attributed to samples goes to
the curve, and the reason is said once with the line that changes it. Only what
the caller got wrong in words (`batch_ids=` of another length) raises.

Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from weightslab.capture.call import Call, SignalSpec, step_in
from weightslab.capture.loss import LossSource, plain_rows
from weightslab.errors import InputError, WeightsLabError

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["KEYWORDS", "SignalSpec", "Tap", "observable"]

KEYWORDS = frozenset({"batch_ids", "batch_idx", "preds", "targets"})
"""Keywords of a watched call that are ours, unless the watched function declares them."""

_NOTHING: Mapping[str, Any] = {}

# Looked up once: each dot on the way costs the training thread a cold cache line.
_is_compiling = torch.compiler.is_compiling
_graph_task = torch._C._current_graph_task_id  # noqa: SLF001


def observable(result: object) -> bool:
    """Whether a result may be read now: not in a recompute, a trace or a graph capture."""
    if _is_compiling() or _graph_task() != -1:
        return False
    if isinstance(result, torch.Tensor) and not result.is_cpu:
        if result.device.type == "meta":
            return False
        if result.is_cuda and torch.cuda.is_current_stream_capturing():
            return False
    return True


class Tap:
    """Records what one watched callable returns.

    Belongs to a session, which it does not keep alive. A copy or a pickle of it
    still takes our keywords off a call, and records nothing.
    """

    def __init__(
        self, session: Session | None, spec: SignalSpec, declared: frozenset[str] = frozenset()
    ) -> None:
        self.spec = spec
        self.declared = declared
        """Those of `KEYWORDS` that the watched function has itself: used, and passed on."""
        self.heard = False
        """Whether a result of it could be read so far."""
        self._session = None if session is None else weakref.ref(session)
        self.given: dict[int, Mapping[str, Any]] = {}
        """Our keywords of calls under way, by thread."""

    def __reduce__(self) -> tuple[type[Tap], tuple[None, SignalSpec, frozenset[str]]]:
        return (type(self), (None, self.spec, self.declared))

    def take(self, kwargs: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
        """Split a call's keywords: ours, and those to call with (None: all of them)."""
        if not kwargs or KEYWORDS.isdisjoint(kwargs):
            return _NOTHING, None
        ours = {name: kwargs[name] for name in KEYWORDS & kwargs.keys()}
        given = {name: value for name, value in ours.items() if value is not None}
        if self.declared >= ours.keys():
            return given, None
        return given, {
            name: value
            for name, value in kwargs.items()
            if name not in KEYWORDS or name in self.declared
        }

    def remember(self, given: Mapping[str, Any]) -> None:
        """Hold the keywords of the call under way in this thread, and forget any other."""
        if given:
            self.given[threading.get_ident()] = given
        else:
            self.given.pop(threading.get_ident(), None)

    def remembered(self) -> Mapping[str, Any]:
        """The keywords of the call under way in this thread; they are forgotten."""
        return self.given.pop(threading.get_ident(), _NOTHING)

    def record(
        self,
        source: LossSource | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        given: Mapping[str, Any],
        *,
        scalar_is_fine: bool = False,
        curve_only: bool = False,
    ) -> None:
        """Append what `result` says of the samples of its batch.

        Raises only `InputError` for keywords of this call that cannot be used.
        """
        if not observable(result):
            return
        session = None if self._session is None else self._session()
        if session is None:
            return
        self.heard = True
        try:
            if not curve_only and self._keep_plain(session, args, kwargs, result, given):
                return
            call = Call(session, self.spec, source, args, kwargs, given, scalar_is_fine)
            if curve_only:
                call.keep_curve(self.spec.name, result)
            else:
                call.keep(self.spec.name, result)
        except WeightsLabError as error:
            if given and isinstance(error, InputError):
                raise
            session.notices.warn_once(
                (self.spec.name, "unusable"),
                f"signal {self.spec.name!r} was not recorded: {error}",
            )
        except Exception as error:  # noqa: BLE001  # recording never ends a training run
            session.notices.warn_once(
                (self.spec.name, type(error).__name__),
                f"signal {self.spec.name!r} was not recorded; training goes on. "
                f"{traceback.format_exc()}",
            )

    def _keep_plain(
        self,
        session: Session,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        given: Mapping[str, Any],
    ) -> bool:
        """Record the common case on a short way: the batch's losses, or their mean. Whether it did.

        A cross entropy's mean is unfolded from its graph. On cold caches each call that
        this spares is worth a microsecond or two of every training step.
        """
        if type(result) is not torch.Tensor or result.dtype is not torch.float32:
            return False
        spec = self.spec
        if not result.is_cpu or spec.per_instance or len(given) > 1:
            return False
        batches = session.batches
        entry = batches.holding(given.get("batch_ids")) if given else batches.of(args, kwargs)
        if entry is None or entry.batch is None:
            return False
        rows = entry.batch.ids.rows
        values = result if result.ndim else plain_rows(result)
        if values is None or values.shape != rows.shape or not len(rows):
            return False
        step = entry.step if session.clock.has_optimizer else step_in(session, spec.name, entry)
        # `.data`, and not `.detach()`: nothing of autograd is asked for what is only read.
        session.recording.samples({spec.name: values.data.numpy()}, rows, step=step, log=spec.log)
        return True
