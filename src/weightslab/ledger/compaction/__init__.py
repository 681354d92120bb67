"""Files that a writer left become fewer, beside the run."""
