"""The demo: real digits, planted label errors, and a ranking that finds them."""

from __future__ import annotations
