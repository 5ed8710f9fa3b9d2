"""What the next run will cost."""
