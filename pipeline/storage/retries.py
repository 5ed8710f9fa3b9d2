"""The only layer of retries before a store: exponential backoff with full jitter, bounded in tries and in time."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.faults import StoreFault, classify, stop_for

T = TypeVar("T")

RETRY_SECONDS_VARIABLE = "LITELVLM_RETRY_SECONDS"
#: How the pauses grow: doubling, but none longer than a quarter of the whole.
_PAUSE_WEIGHTS = (1, 2, 4, 8, 16, 16, 16)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long to insist. Travels with what reads and writes into the workers, so that all of a run keep to one.

    There are at most `tries` of an action, and pauses that add up to `seconds` at most between the first eight. Where
    the tries themselves are slow, because the store stalls, none begins after `seconds` unless `patient_tries` are not
    over yet.
    """

    seconds: float = 60.0
    tries: int = 8
    patient_tries: int = 3

    @classmethod
    def from_environment(cls) -> RetryPolicy:
        """The policy that `LITELVLM_RETRY_SECONDS` asks for, else a minute. Raises ValueError."""
        given = os.environ.get(RETRY_SECONDS_VARIABLE)
        if given is None:
            return cls()
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{RETRY_SECONDS_VARIABLE}: must be a number of seconds, got {given!r}")
        return cls(seconds=seconds)

    def pause_s(self, tried: int) -> float:
        """Seconds to wait after try number `tried`: any up to a doubling bound, lest workers come together."""
        weight = _PAUSE_WEIGHTS[min(tried, len(_PAUSE_WEIGHTS)) - 1]
        return random.uniform(0, self.seconds * weight / sum(_PAUSE_WEIGHTS))

    def ends(self, tried: int, elapsed_s: float) -> bool:
        """Whether no try follows number `tried`."""
        return tried >= self.tries or (tried >= self.patient_tries and elapsed_s > self.seconds)


def with_retries(
    action: Callable[[], T],
    what: str,
    retry: RetryPolicy | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do something to a store; do it again when its error may pass. `what` says what, for the message.

    Raises:
        CredentialsError: at once, when the credentials are refused.
        AccessDeniedError, StorageError: it is not allowed; it cannot succeed, or did not within the retries.
        FileNotFoundError, FileExistsError: at once, as such.
        Exception: what is no error of a store, as it is.
    """
    retry = retry or RetryPolicy.from_environment()
    started = time.monotonic()
    for tried in range(1, retry.tries + 1):
        try:
            return action()
        except StorageError:
            raise
        except Exception as error:  # stores raise types of their own; what is none of theirs goes on as it is
            fault = classify(error)
            if fault is StoreFault.FOREIGN:
                raise
            if fault is StoreFault.MISSING:
                raise _as(FileNotFoundError, error, what) from error
            if fault is StoreFault.EXISTS:
                raise _as(FileExistsError, error, what) from error
            if fault is not StoreFault.TRANSIENT or retry.ends(tried, time.monotonic() - started):
                raise stop_for(error, what) from error
        sleep(retry.pause_s(tried))
    raise AssertionError("unreachable: the policy ends the tries")


def _as(kind: type[OSError], error: Exception, what: str) -> Exception:
    return error if isinstance(error, kind) else kind(f"{what}: {type(error).__name__}")
