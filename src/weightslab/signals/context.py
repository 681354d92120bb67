"""What a signal's function is given: the value that fired it, and the sample it belongs to.

Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from weightslab.signals.views import Array, Image, image_of, points_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from weightslab.signals.past import SignalHistory

__all__ = ["BatchContext", "SignalContext"]

_UNREAD: Any = object()


class SignalContext:
    """One sample, and the value that a signal is computed from; read-only.

    A function that is registered with `wl.signal` gets one for each value. What costs
    something (table, data, history, split) is made when it is first looked at.

    Attributes are the properties below. In a dynamic signal `data`, `image` and `points`
    are None: reading the dataset beside the training would draw its random numbers.

    Example:
        >>> import weightslab as wl
        >>> @wl.signal(subscribe_to="loss")
        ... def excess(ctx: wl.SignalContext) -> float:
        ...     return ctx.subscribed_value - 1.0
        >>> wl.save_signals({"loss": [1.5]}, ["cat.png"], step=0)
        >>> wl.query_signal_history("excess")[0][:3]
        ('cat.png', 0, 0.5)
    """

    __slots__ = (
        "_annotation_id",
        "_data",
        "_frame",
        "_history",
        "_image",
        "_is_dynamic",
        "_origin",
        "_read_data",
        "_sample_id",
        "_step",
        "_value",
    )

    def __init__(
        self,
        sample_id: str | None,
        *,
        is_dynamic: bool,
        dataframe: Callable[[], pl.DataFrame],
        subscribed_value: Any = None,
        annotation_id: int | None = None,
        step: int | None = None,
        origin: Callable[[], str | None] | None = None,
        history: Callable[[], list[dict[str, Any]]] | None = None,
        data: Callable[[], Any] | None = None,
    ) -> None:
        self._sample_id = sample_id
        self._is_dynamic = is_dynamic
        self._value = subscribed_value
        self._annotation_id = annotation_id
        self._step = step
        self._origin = origin
        self._history: Any = history
        self._frame = dataframe
        self._read_data = data
        self._data = _UNREAD
        self._image: Any = _UNREAD

    @property
    def sample_id(self) -> str | None:
        """The sample's id; None for a value of the global curve."""
        return self._sample_id

    @property
    def annotation_id(self) -> int | None:
        """The instance within the sample, from 1; None for a value of the whole sample."""
        return self._annotation_id

    @property
    def step(self) -> int | None:
        """Training step of the subscribed value; None in a static signal."""
        return self._step

    @property
    def origin(self) -> str | None:
        """The split that the sample is in: "train", "val", ..."""
        return None if self._origin is None else self._origin()

    @property
    def subscribed_value(self) -> Any:
        """The value that fired this signal, a float; None in a static signal."""
        return self._value

    @property
    def subscribed_history(self) -> list[dict[str, Any]]:
        """The sample's earlier values of the subscribed signal in this run, oldest first.

        Each is {"signal_value": float}, with include_history_metadata also "model_age", the
        step. The value that fired is not among them. Empty without include_history.
        """
        if self._history is None:
            return []
        if callable(self._history):
            self._history = self._history()
        found: list[dict[str, Any]] = self._history
        return found

    @property
    def dataframe(self) -> pl.DataFrame:
        """The sample table as a Polars frame, as `wl.samples()` gives it: what is true now."""
        return self._frame()

    @property
    def data(self) -> Any:
        """The sample as the dataset has it; None in a dynamic signal."""
        if self._data is _UNREAD:
            self._data = None if self._read_data is None else self._read_data()
        return self._data

    @property
    def image(self) -> Image | None:
        """The data as an image, uint8 [H, W, C] in 0..255; None where it is none.

        A copy, made when it is first looked at, of a Pillow image, or of an array or tensor
        with up to 4 channels at either end, or of two dimensions. Floats of 0..1 are scaled;
        numbers below 0 or above 255 have no absolute level, and are stretched over the image.
        """
        if self._image is _UNREAD:
            self._image = image_of(self.data)
        found: Image | None = self._image
        return found

    @property
    def points(self) -> Array | None:
        """The data as points, [N, 3..]; None where it is none."""
        return points_of(self.data)

    @property
    def is_static(self) -> bool:
        """Whether the signal is computed from the sample itself."""
        return not self._is_dynamic

    @property
    def is_dynamic(self) -> bool:
        """Whether the signal is fired by values of another one."""
        return self._is_dynamic

    def __repr__(self) -> str:
        kind = "dynamic" if self._is_dynamic else "static"
        return (
            f"<SignalContext of a {kind} signal: sample_id={self._sample_id!r}, "
            f"annotation_id={self._annotation_id!r}, step={self._step!r}, "
            f"subscribed_value={self._value!r}>"
        )


class BatchContext(SignalContext):
    """A batch of B samples at once: what a function gets that was registered as batched.

    `subscribed_value` is an array [B]; `sample_id`, `annotation_id` and `origin` are None.
    """

    __slots__ = ("_annotation_ids", "_past", "_sample_ids")

    def __init__(
        self,
        sample_ids: Sequence[str],
        subscribed_value: npt.NDArray[Any],
        *,
        step: int,
        history: Callable[[int | None], SignalHistory],
        dataframe: Callable[[], pl.DataFrame],
        annotation_ids: npt.NDArray[Any] | None = None,
    ) -> None:
        super().__init__(
            None,
            is_dynamic=True,
            subscribed_value=subscribed_value,
            step=step,
            dataframe=dataframe,
        )
        self._sample_ids = sample_ids
        self._annotation_ids = annotation_ids
        self._past = history

    @property
    def sample_ids(self) -> Sequence[str]:
        """The ids of the B samples; of no sample for a value of the global curve."""
        return self._sample_ids

    @property
    def annotation_ids(self) -> npt.NDArray[Any] | None:
        """The instances within the samples, from 1; None for values of whole samples."""
        return self._annotation_ids

    def history(self, last: int | None = None) -> SignalHistory:
        """Earlier values of the subscribed signal, of all B samples in one read.

        Args:
            last: how many to give of each, the newest; None: every one of this run. Up to
                32 come from memory.
        """
        return self._past(last)
