"""Targets, predictions and raw predictions: the latest of each sample, of any shape."""
