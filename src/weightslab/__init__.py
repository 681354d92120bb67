"""WeightsLab: see, while a PyTorch model trains, what every sample does.

Importing this package does nothing: no thread, no file, no banner; torch and
polars load with the first verb that needs them.
"""

from __future__ import annotations
