"""Tags, categories and discards: made here, made by others, and what they add up to."""
