"""Replacing a method on one instance, so that every copy has the plain method again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["InstancePatch"]


class InstancePatch:
    """Stands in for a method of one object; copies and pickles get their own method back.

    `around(original, args, kwargs)` is what a call does now.
    """

    def __init__(
        self,
        owner: object,
        method: str,
        around: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any],
    ) -> None:
        self.original: Callable[..., Any] = getattr(owner, method)
        if isinstance(self.original, InstancePatch):  # watched before: the new one replaces it
            self.original = self.original.original
        self._owner = owner
        self._method = method
        self._around = around
        # inspect.signature looks here, which torchmetrics does to share keywords out.
        self.__wrapped__ = self.original
        self.__name__ = method
        self.__doc__ = self.original.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what stands around the method."""
        return self._around(self.original, args, kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, str]]:
        # While a copy of the owner is being made it has no instance attributes yet, so this
        # finds the method of its class, bound to the copy.
        return (getattr, (self._owner, self._method))
