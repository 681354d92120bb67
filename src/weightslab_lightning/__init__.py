"""WeightsLab for Lightning, Accelerate and Hydra (the callbacks arrive with their own release)."""

from __future__ import annotations
