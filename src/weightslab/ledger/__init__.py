"""Files, log and state of a run folder."""

from weightslab.ledger.ledger import DiscardView, Ledger, LedgerOptions
from weightslab.ledger.reader import View

__all__ = ["DiscardView", "Ledger", "LedgerOptions", "View"]
