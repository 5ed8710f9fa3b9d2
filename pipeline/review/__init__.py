"""From masks to accepted labels: what to look at, out to the tools of reviewers, back again, and what may be accepted unseen."""
