"""Shards: the manifest, the work on each, attempts and the claim on an output."""
