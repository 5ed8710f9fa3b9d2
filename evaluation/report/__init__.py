"""`evaluation.html`: reads results, writes a page."""
