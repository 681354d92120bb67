"""Hyperparameters: one handle that the script reads and others may edit."""
