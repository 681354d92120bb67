"""What is done to a run folder outside training: checked, mended, merged, copied."""
