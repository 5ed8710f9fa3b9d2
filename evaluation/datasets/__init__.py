"""Readers of referring-segmentation data sets."""
