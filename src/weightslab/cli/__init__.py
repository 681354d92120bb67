"""The command line. It imports click alone until a command runs."""

from __future__ import annotations
