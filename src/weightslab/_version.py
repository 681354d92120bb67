"""The one place of the version: packaging, `--version` and run folders read it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
