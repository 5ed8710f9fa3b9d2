"""What a run takes: throughput, savings, progress, metrics."""
