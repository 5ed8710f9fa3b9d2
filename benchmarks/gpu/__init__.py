"""Everything worth measuring on a CUDA device, in one process: `python -m benchmarks.gpu --output DIR`."""
