"""Evaluations: who asked for one, how a pass goes, what came out."""
