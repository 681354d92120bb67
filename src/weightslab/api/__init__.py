"""The verbs of `import weightslab as wl`, thin: one file per subject of the public reference."""
