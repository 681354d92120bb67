"""Values by signal and step: partitions, their segments, and every way to read them."""
