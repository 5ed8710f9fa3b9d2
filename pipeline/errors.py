"""Every error that ends a run or a command, and what it means to whoever started it.

What is wrong with one record is no error here: it becomes that record's reason.
"""

from __future__ import annotations

import signal

#: What a mistake in a setting, an input or a path raises while a run is being prepared.
MISTAKES = (ValueError, FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


class UsageError(ValueError):
    """A mistake in the command or its input, found while the run goes on. Shown as one line."""


class ModelLoadError(ValueError):
    """The model cannot be loaded: a mistake in the command, not in the pipeline."""


class StorageError(OSError):
    """The store refuses or stays unreachable after every retry. The run stops; running it again resumes."""


class CredentialsError(StorageError):
    """The store takes the credentials no longer, or never did. No record may fail for that: the run stops."""


class AccessDeniedError(StorageError, PermissionError):
    """The credentials are good, but do not allow this."""


class DataError(RuntimeError):
    """The output directory does not hold what its markers promise."""


class StageError(RuntimeError):
    """A stage of the pipeline is broken. Another execution would break in the same way."""


class RunError(RuntimeError):
    """The run cannot go on; what was committed stays, and running it again resumes."""


class NodeError(RunError):
    """A node lacks what the run needs; another may have it."""

    def __init__(self, message: str, node_id: str) -> None:
        super().__init__(message)
        self.node_id = node_id


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; `told` once the user knows what was committed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.told = number, False

    @property
    def word(self) -> str:
        """How the run ended."""
        return "interrupted" if self.number == signal.SIGINT else "terminated"

    @property
    def exit_code(self) -> int:
        """As a shell has it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class FailureRateExceeded(Exception):
    """So many records failed that the run cannot end within its failure rate."""
