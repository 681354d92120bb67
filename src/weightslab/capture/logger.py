"""Loggers: what is written to them also joins the global curve, and still reaches them."""

from __future__ import annotations

import functools
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from weightslab.capture.recorder import checked_name
from weightslab.capture.transfer import to_values
from weightslab.errors import InputError

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["ScalarLogger", "watch_logger"]

_METHODS = ("add_scalar", "add_scalars", "log_metrics", "log")

_SESSIONS: weakref.WeakKeyDictionary[Any, weakref.ref[Session]] = weakref.WeakKeyDictionary()
"""Which session reads along with which logger. A copy is another key, so nobody reads it."""

_KEPT: weakref.WeakKeyDictionary[Session, dict[int, Any]] = weakref.WeakKeyDictionary()
"""Loggers that no weak dictionary takes, by `id`; the session holds its loggers anyway."""

_inside = threading.local()  # a logger's `log` may call its own `log_metrics`: read once


def watch_logger(
    session: Session,
    obj: Any,
    *,
    obj_name: str | None = None,
    name: str | None = None,
    log_dir: str | os.PathLike[str] | None = None,
) -> Any:
    """Read along with a logger; the same object comes back.

    Its class becomes a real subclass of what it was, so that `isinstance` holds;
    pickles and copies are of the original class. With `obj=None` you get a small
    logger of ours. `log_dir` names the folder of the run. Raises `InputError` for
    an object with none of add_scalar, log_metrics and log.
    """
    if obj is None:
        obj = ScalarLogger(log_dir)
        _remember(session, obj)
    else:
        _read_along(session, obj)
    if log_dir is not None:
        session.name_folder(log_dir)
    session.registry.register("loggers", obj_name or name or "logger", obj)
    return obj


class ScalarLogger:
    """The logger that you get when you bring none: scalars go to the global curve."""

    def __init__(self, log_dir: str | os.PathLike[str] | None = None) -> None:
        self.log_dir = None if log_dir is None else os.fspath(log_dir)

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None) -> None:
        """Put one number on the curve `tag`, at `global_step` or at the current step."""
        _append(self, {tag: scalar_value}, global_step)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Put several numbers on their curves."""
        _append(self, metrics, step)

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Put several numbers on their curves."""
        _append(self, metrics, step)


def _read_along(session: Session, obj: Any) -> None:
    plain: type = type(obj)
    if isinstance(obj, type) or not any(callable(getattr(obj, m, None)) for m in _METHODS):
        raise InputError(
            f"a logger has add_scalar, log_metrics or log (a Lightning logger, a SummaryWriter); "
            f"got {obj!r:.80} of type {plain.__qualname__}"
        )
    own = [m for m in _METHODS if callable(getattr(obj, "__dict__", {}).get(m))]
    try:
        if not isinstance(obj, ScalarLogger) and not hasattr(plain, "_weightslab_plain"):
            obj.__class__ = _watched_class(plain)
    except TypeError as error:
        if not own:  # a class that cannot be changed, and no method of the object itself
            raise InputError(
                f"a {plain.__qualname__} cannot be watched ({error}); hand its numbers on with "
                f"wl.watch_or_edit(None, flag='logger').log_metrics(...)"
            ) from error
    for method in own:
        obj.__dict__[method] = _OwnMethod(obj, method)
    _remember(session, obj)


class _OwnMethod:
    """A method that a logger holds as an attribute, read along with; copies hold the plain one."""

    def __init__(self, logger: Any, method: str) -> None:
        known = logger.__dict__[method]
        self.plain: Callable[..., Any] = known.plain if isinstance(known, _OwnMethod) else known
        self._reading = _reading(lambda _, *args, **kw: self.plain(*args, **kw), _READERS[method])
        self._owner = logger

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any]]:
        return (_itself, (self.plain,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; what it returns comes back as it is."""
        return self._reading(self._owner, *args, **kwargs)


def _itself(value: Any) -> Any:
    return value


def _remember(session: Session, logger: Any) -> None:
    try:
        _SESSIONS[logger] = weakref.ref(session)
    except TypeError:  # it has no room for a weak reference, or no hash
        _KEPT.setdefault(session, {})[id(logger)] = logger


def _session_of(logger: Any) -> Session | None:
    try:
        reference = _SESSIONS.get(logger)
    except TypeError:
        reference = None
    if reference is not None:
        return reference()
    return next((one for one, kept in _KEPT.items() if kept.get(id(logger)) is logger), None)


@functools.lru_cache(maxsize=256)
def _watched_class(plain: type) -> type:
    """A subclass of a logger's class whose methods read along."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807  # the protocol's name
        reduced = cast("Any", plain).__reduce_ex__(self, protocol)
        if not isinstance(reduced, tuple):
            return reduced
        maker, arguments, *rest = reduced
        back = tuple(plain if item is watched else item for item in arguments)
        if maker is watched:
            maker = plain
        elif getattr(maker, "__name__", "") == "__newobj__":
            maker = plain.__new__  # pickle insists that `__newobj__` makes the object's own class
        elif getattr(maker, "__name__", "") == "__newobj_ex__":
            _, args, kwargs = arguments
            maker, back = functools.partial(plain.__new__, plain, *args, **kwargs), ()
        return (maker, back, *rest)

    body: dict[str, Any] = {
        "__slots__": (),
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
        "__reduce_ex__": __reduce_ex__,
        "_weightslab_plain": plain,
    }
    for method in _METHODS:
        original = getattr(plain, method, None)
        if callable(original):
            body[method] = _reading(original, _READERS[method])
    watched: type = type(plain)(plain.__name__, (plain,), body)
    return watched


_Reader = Callable[..., tuple[Mapping[str, Any], Any]]


def _reading(original: Callable[..., Any], reader: _Reader) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer = getattr(_inside, "logger", None)
        _inside.logger = self
        try:
            result = original(self, *args, **kwargs)
        finally:
            _inside.logger = outer
        if outer is not self:
            _read(self, reader, args, kwargs)
        return result

    return method


def _read(logger: Any, reader: _Reader, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    session = _session_of(logger)
    if session is None:
        return
    try:
        metrics, step = reader(*args, **kwargs)
        _append(logger, metrics, step)
    except Exception as error:  # noqa: BLE001  # reading along never ends a training run
        session.notices.warn_once(
            ("logger", type(error).__name__),
            f"a call of a watched logger was not recorded. {traceback.format_exc()}",
        )


def _append(logger: Any, metrics: Mapping[str, Any], step: Any) -> None:
    session = _session_of(logger)
    if session is None:
        return
    at: dict[int, dict[str, float]] = {}
    for name, value in metrics.items():
        number = _number(value)
        if number is not None and str(name).strip():
            short = checked_name(str(name))
            moment = session.clock.step(short, None if step is None else int(step))
            at.setdefault(moment, {})[short] = number
    for moment, numbers in at.items():
        session.recording.scalars(numbers, step=moment)


def _number(value: Any) -> float | None:
    """A single number, or None for what a logger takes beside numbers: images, text, tables."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if getattr(value, "shape", None) is None:
        return None
    try:
        values = to_values(value)
    except InputError:
        return None
    return float(values.reshape(())) if values.size == 1 else None


def _read_add_scalar(
    tag: str, scalar_value: Any, global_step: Any = None, *_: Any, **__: Any
) -> tuple[Mapping[str, Any], Any]:
    return {tag: scalar_value}, global_step


def _read_add_scalars(
    main_tag: str,
    tag_scalar_dict: Mapping[str, Any],
    global_step: Any = None,
    *_: Any,
    **__: Any,
) -> tuple[Mapping[str, Any], Any]:
    return {f"{main_tag}/{tag}": value for tag, value in tag_scalar_dict.items()}, global_step


def _read_metrics(*args: Any, step: Any = None, **kwargs: Any) -> tuple[Mapping[str, Any], Any]:
    """`log(dict, step=None)`, `log_metrics(metrics, step)`, and `log(name, value, step=None)`."""
    given = list(args)
    first = given.pop(0) if given else kwargs.get("metrics", kwargs.get("data", kwargs))
    if isinstance(first, str):
        value = given.pop(0) if given else kwargs.get("value")
        first = {first: value}
    if given and step is None:
        step = given[0]
    return (first if isinstance(first, Mapping) else {}), step


_READERS: dict[str, _Reader] = {
    "add_scalar": _read_add_scalar,
    "add_scalars": _read_add_scalars,
    "log_metrics": _read_metrics,
    "log": _read_metrics,
}
