"""`report.html`: reads a run, writes a page."""
