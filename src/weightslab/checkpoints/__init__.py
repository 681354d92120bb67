"""What names and keeps a state of an experiment."""
