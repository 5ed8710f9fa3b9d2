"""Untrusted image bytes to upright RGB pixels."""
