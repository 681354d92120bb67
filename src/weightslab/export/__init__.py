"""Files for other tools: the history of signals and the sample table, written out.

Imported by no package at start: Polars loads with the first export.
"""
