"""Static signals: functions of the sample itself, called for one chunk of a dataset after another.

Shapes: B samples in a chunk, k of them with a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError, UnknownOptionError
from weightslab.ledger.log.records import Floats
from weightslab.signals.context import BatchContext, SignalContext
from weightslab.signals.definition import Signal
from weightslab.signals.past import SignalHistory
from weightslab.signals.registry import SignalRegistry
from weightslab.signals.result import number, numbers
from weightslab.signals.views import Image, image_of

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Failed",
    "Keep",
    "Scene",
    "StaticBatchContext",
    "chosen_signals",
    "compute",
    "input_of",
]

INPUTS = ("image", "input", "x", "data")


class Failed(Protocol):
    """Counts what a user's function raised, and says it once."""

    def add(self, name: str, error: BaseException, *, count: int = 1) -> None:
        """A call for `count` values has failed."""


class Keep(Protocol):
    """Takes values of one signal."""

    def __call__(self, name: str, places: npt.NDArray[np.int64], values: Floats) -> None:
        """Values [k], and which of the B samples of the chunk they are of, [k]."""


class Scene(NamedTuple):
    """What the functions see beside the samples, and where their values go."""

    origin: str
    dataframe: Callable[[], pl.DataFrame]
    keep: Keep
    failures: Failed


class StaticBatchContext(BatchContext):
    """B samples at once: what the function of a static signal gets that was registered as batched.

    `data` is the list of what each sample is, `images` those of them that are images.
    """

    __slots__ = ()

    def __init__(self, sample_ids: Sequence[str], data: list[Any], scene: Scene) -> None:
        SignalContext.__init__(
            self,
            None,
            is_dynamic=False,
            dataframe=scene.dataframe,
            origin=lambda: scene.origin,
            data=lambda: data,
        )
        self._sample_ids = sample_ids
        self._annotation_ids = None
        self._past = lambda _: _nothing(len(data))

    @property
    def images(self) -> list[Image | None]:
        """Each sample as an image, uint8 [H, W, C] in 0..255; None where it is none. [B]."""
        return [image_of(one) for one in self.data]


def _nothing(count: int) -> SignalHistory:
    """No earlier value of any of `count` samples: a static signal subscribes to nothing."""
    none = np.zeros((count, 0), np.int64)
    return SignalHistory(none, none.astype(np.float32), np.zeros(count, np.int64))


def chosen_signals(registry: SignalRegistry, chosen: Any) -> list[Signal]:
    """The static signals that `chosen` means: names, decorated functions; None: all of them.

    Raises:
        UnknownOptionError: nothing is registered under a name.
        InputError: a dynamic signal, something that is no signal, or none at all.
    """
    if chosen is None:
        found = registry.static
    else:
        several = isinstance(chosen, Iterable) and not isinstance(chosen, str)
        found = [_signal(registry, one) for one in (chosen if several else [chosen])]
    if not found:
        raise InputError(
            "there is no static signal to compute: register one with @wl.signal(), without "
            "subscribe_to"
        )
    return list({signal.name: signal for signal in found}.values())


def _signal(registry: SignalRegistry, given: Any) -> Signal:
    if isinstance(given, str):
        signal = registry.get(given)
        if signal is None:
            raise UnknownOptionError("signal", given, [one.name for one in registry.static])
    elif callable(given):
        signal = next((one for one in registry if one.function is given), None)
        if signal is None:
            raise InputError(
                f"{getattr(given, '__name__', given)!r} is no signal: register it with @wl.signal"
            )
    else:
        raise InputError(f"signals are names or functions with @wl.signal, not {given!r:.60}")
    if signal.is_dynamic:
        raise InputError(
            f"signal {signal.name!r} is dynamic: it fires by itself when {signal.subscribe_to!r} "
            f"is saved, and cannot be computed from a dataset"
        )
    return signal


def compute(
    signals: Sequence[Signal], ids: Sequence[str], items: Sequence[Any], scene: Scene
) -> None:
    """Call each signal's function for B samples, as the dataset returned them.

    A function that raises, or returns no number, costs that value only. When Ctrl-C ends it,
    the values that were computed before have been handed to `scene.keep`.
    """
    data = [input_of(item) for item in items]
    for signal in signals:
        (_call_batch if signal.batched else _call_each)(signal, ids, data, scene)


def _call_batch(signal: Signal, ids: Sequence[str], data: list[Any], scene: Scene) -> None:
    context = StaticBatchContext(ids, list(data), scene)
    try:
        scene.keep(signal.name, *numbers(signal.function(context), len(data)))
    except Exception as error:  # noqa: BLE001  # a user's function
        scene.failures.add(signal.name, error, count=len(data))


def _call_each(signal: Signal, ids: Sequence[str], data: list[Any], scene: Scene) -> None:
    places: list[int] = []
    values: list[float] = []
    try:
        for place, (sample_id, one) in enumerate(zip(ids, data, strict=True)):
            context = SignalContext(
                sample_id,
                is_dynamic=False,
                dataframe=scene.dataframe,
                origin=lambda: scene.origin,
                data=lambda one=one: one,  # type: ignore[misc]  # bound now, not when it is called
            )
            try:
                value = number(signal.function(context))
            except Exception as error:  # noqa: BLE001  # a user's function
                scene.failures.add(signal.name, error)
                continue
            if value is not None:
                values.append(value)
                places.append(place)
    finally:
        count = len(places)
        scene.keep(signal.name, np.array(places, np.int64), np.array(values[:count], np.float64))


def input_of(item: Any) -> Any:
    """What of an item is the sample's input: `ctx.data`.

    The first of a tuple or list; of a mapping the first that is there of image, input, x and
    data; anything else as it is.
    """
    if isinstance(item, (tuple, list)):
        return item[0] if item else item
    if isinstance(item, Mapping):
        return next((item[key] for key in INPUTS if key in item), item)
    return item
