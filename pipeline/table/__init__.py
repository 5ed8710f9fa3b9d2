"""Parquet input: columns, rows, footers, true masks."""
