"""Signals that a user defines: what they are, and what fires them."""
