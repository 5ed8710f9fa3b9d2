"""What every job does around its work: errors become one line without secrets, and an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from litelvlm.pipeline.config import parse_storage_options
from litelvlm.pipeline.errors import CredentialsError, DataError, StorageError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_CRASHED, EXIT_INTERRUPTED, EXIT_USAGE
from litelvlm.pipeline.redact import Redactor


class JobParser(argparse.ArgumentParser):
    """A parser whose mistakes are told like all others of a job."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message)


class Secrets:
    """What a job must not print: nothing is known at first, storage options once they are read."""

    def __init__(self) -> None:
        self.redact = Redactor({})

    def of(self, options: dict[str, Any]) -> dict[str, Any]:
        """Keep the values of storage options out of what is printed from now on. Returns the options."""
        self.redact = Redactor(options)
        return options

    def of_flags(self, given: list[str] | None) -> dict[str, Any]:
        """The same for options as a command line has them, K=V. Raises ValueError for what is none."""
        return self.of(parse_storage_options(given or []))


def run_job(
    work: Callable[[Secrets], int], *, mistakes: tuple[type[Exception], ...] = (UsageError,), resumes: bool = False
) -> int:
    """Do a job's work and return its exit code, which is 1 where it crashed and 2 where it raised one of `mistakes`.

    `resumes` says that the same command, run again, goes on where this one ended.
    """
    secrets = Secrets()
    again = "; run again to resume" if resumes else ""
    try:
        return work(secrets)
    except mistakes as error:
        return _told(f"error: {secrets.redact(str(error))}", EXIT_USAGE)
    except StorageError as error:
        kept = ". What was committed is kept" if resumes else ""
        advice = "" if isinstance(error, CredentialsError) else again
        return _told(f"error: storage: {secrets.redact(str(error))}{kept}{advice}", EXIT_CRASHED)
    except DataError as error:
        return _told(f"error: output: {secrets.redact(str(error))}", EXIT_CRASHED)
    except KeyboardInterrupt:
        return _told(f"interrupted{again}", EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a crash must not print secrets
        print(secrets.redact.text(traceback.format_exc()), file=sys.stderr)
        return _told(f"error: crashed: {secrets.redact(f'{type(error).__name__}: {error}')}{again}", EXIT_CRASHED)


def _told(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
