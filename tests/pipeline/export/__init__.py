"""Tests of `pipeline/export`."""
