"""Committed shards to records, COCO files and `_SUCCESS`."""
