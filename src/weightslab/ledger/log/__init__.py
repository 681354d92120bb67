"""The write-ahead log of a writer: what it holds, how it is written and read back."""
