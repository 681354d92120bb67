"""One file per command; each loads what it needs when it runs."""

from __future__ import annotations
