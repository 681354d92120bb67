"""Files, log and state of a run folder."""

from weightslab.ledger.edits.discards import DiscardView
from weightslab.ledger.ledger import Ledger
from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.reader import View

__all__ = ["DiscardView", "Ledger", "LedgerOptions", "View"]
