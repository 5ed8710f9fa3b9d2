"""Local paths and object stores: retries, ranges, exclusive creation."""
