"""Formats of tools that show masks to people, who correct them."""
