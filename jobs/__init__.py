"""Command-line jobs: flags to a config, one call, an exit code."""
