"""Losses that somebody else's code computes, seen from around it: one value for each sample."""
