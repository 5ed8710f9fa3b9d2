"""Scoring checkpoints, pruning rules and budgets on referring segmentation, through the annotation pipeline."""
