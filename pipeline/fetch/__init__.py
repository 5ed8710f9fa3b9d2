"""Image URIs: what may be read, and reading it."""
