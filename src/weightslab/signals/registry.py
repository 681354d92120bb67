"""The signals that a user has defined, by name, in order of registration."""

from __future__ import annotations

from collections.abc import Iterator

from weightslab.errors import InputError
from weightslab.queries.names import signal_name
from weightslab.signals.definition import Signal

__all__ = ["SignalRegistry"]


class SignalRegistry:
    """Definitions by name; one that is defined again takes the place of the former.

    `"x"` and `"signals//x"` are one name.
    """

    def __init__(self) -> None:
        self._signals: dict[str, Signal] = {}

    def __iter__(self) -> Iterator[Signal]:
        """Every definition, in order of registration."""
        return iter(list(self._signals.values()))

    def __len__(self) -> int:
        return len(self._signals)

    def __contains__(self, name: str) -> bool:
        return signal_name(name) in self._signals

    def get(self, name: str) -> Signal | None:
        """The definition of a name, if there is one."""
        return self._signals.get(signal_name(name))

    @property
    def static(self) -> list[Signal]:
        """Those that are computed from the sample itself."""
        return [signal for signal in self if not signal.is_dynamic]

    def subscribers(self, name: str) -> tuple[Signal, ...]:
        """Those that values of `name` fire, in order of registration."""
        name = signal_name(name)
        return tuple(signal for signal in self if signal.subscribe_to == name)

    def add(self, signal: Signal) -> None:
        """Take up a definition.

        Raises:
            InputError: its values would fire itself, directly or through others; nothing
                was registered.
        """
        chain = self._chain(signal)
        if signal.name in chain[1:]:
            raise InputError(
                f"signal {signal.name!r} cannot subscribe to {signal.subscribe_to!r}: it would "
                f"fire itself ({' -> '.join(reversed(chain))}); give it another name, or "
                f"subscribe to the value that the chain begins with"
            )
        self._signals[signal.name] = signal

    def _chain(self, signal: Signal) -> list[str]:
        """Names from a signal to what it goes back to; ends with itself if that is a cycle."""
        chain = [signal.name]
        source = signal.subscribe_to
        while source is not None:
            chain.append(source)
            if source == signal.name:
                break
            before = self._signals.get(source)
            source = None if before is None else before.subscribe_to
        return chain
