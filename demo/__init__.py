"""Procedural scenes with referring expressions, and the trainer of the small checkpoint that ships with litelvlm."""
