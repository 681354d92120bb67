"""What a trainer tells WeightsLab, and nothing more: public, small and documented.

The plugin for Lightning and Accelerate is written with it, and whoever keeps a trainer of
their own may do the same. A trainer makes one `Loop`, lets it track its loaders, and says
where its steps begin and what they return.
"""

from __future__ import annotations

from weightslab.capture.source import OnDiscard
from weightslab.integration.loop import Loop

__all__ = ["Loop", "OnDiscard"]
