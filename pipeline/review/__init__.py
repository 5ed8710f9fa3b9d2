"""From masks to accepted labels: what to look at, what reviewers did, and what may be accepted unseen."""
