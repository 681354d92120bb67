"""What is true of every sample now, and its snapshots."""
