"""How a ledger writes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LedgerOptions"]


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How a ledger writes. The defaults suit a training run."""

    flush_interval_s: float = 10.0
    """Longest time until logged rows become Parquet; they are durable before."""
    flush_rows: int = 500_000
    """Rows that make a flush due earlier."""
    sync_interval_s: float = 1.0
    """What a power loss can cost (a killed process loses nothing), and how long an edit of
    another process takes to arrive."""
    base_interval_s: float = 120.0
    """Shortest time between whole snapshots of the sample table."""
    compact: bool = True
    """Whether files are merged in the background, by a process of lowest priority."""
    log_bytes: int = 16 << 20
    """Size of one write-ahead log file."""
    most_waiting_rows: int = 8_000_000
    """Rows in memory beyond which a broken disk makes new ones be dropped and counted."""
    most_waiting_array_bytes: int = 256 << 20
    """The same for targets and predictions, in bytes."""
    array_rate_bytes_s: float = 16e6
    """Most bytes of large arrays (masks, logits) that are taken a second."""
    array_budget_bytes: int = 2 << 30
    """Most bytes of large arrays in the folder; the oldest give way to new ones."""
    array_memory_bytes: int = 256 << 20
    """Memory for small targets and predictions; more of them are read from their files."""
    cache_bytes: int = 256 << 20
    """Memory for decoded segments; a quarter of it more for the indexes of others."""
