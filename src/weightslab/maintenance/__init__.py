"""What is done to a run folder outside training: checked, repaired, copied."""

from __future__ import annotations
