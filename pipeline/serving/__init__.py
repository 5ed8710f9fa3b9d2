"""The engine behind HTTP, on Ray Serve."""
