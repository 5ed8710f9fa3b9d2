"""Measurements. Each module is a script that writes its result, with date and hardware, to benchmarks/results."""
