"""Telling the cluster's failures, which another execution may overcome, from errors that would only come back."""

from __future__ import annotations

from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError, RayTaskError

from pipeline.annotate import CheckpointError
from pipeline.config import UsageError
from pipeline.storage import StorageError


class StageError(RuntimeError):
    """A stage of the pipeline is broken. Another execution would break in the same way."""


def cluster_failure(error: BaseException) -> str:
    """One line about a failure of the cluster (a node, worker or object was lost, or nothing moved for too long).

    Raises:
        UsageError: the model cannot be loaded.
        StorageError: a stage could not read or write.
        StageError: a stage raised something else.
        BaseException: `error` itself when it did not come from Ray.
    """
    cause = root_cause(error)
    if isinstance(cause, CheckpointError):
        raise UsageError(str(cause)) from None
    if isinstance(cause, RayError | ExecutionTimeoutError):
        return f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0]}"
    if cause is error:
        raise error
    if isinstance(cause, StorageError):
        raise cause
    raise StageError(f"{type(cause).__name__}: {cause}") from error


def root_cause(error: BaseException) -> BaseException:
    """The innermost exception that a stage raised, or the innermost of Ray's own."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
        inner = inner if isinstance(inner, BaseException) else error.__cause__
        wraps = isinstance(error, RayError | SystemException)
        if inner is None or not wraps:
            return error
        error = inner
    return error
