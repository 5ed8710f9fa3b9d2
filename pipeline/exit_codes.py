"""Exit codes of every job."""

EXIT_DONE = 0
EXIT_CRASHED = 1  # the cluster, the storage or the program failed; what was committed is kept
EXIT_USAGE = 2  # a mistake in the command or its input
EXIT_FAILURE_RATE = 3  # more records failed than --max-failure-rate allows; the work is kept
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143  # by SIGINT or SIGTERM; what was committed is kept
