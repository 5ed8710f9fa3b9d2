"""Errors between the stages and the driver.

A stage that breaks sends a `Failure` down the pipeline in place of its shard: Ray Data would hand over an exception
without the one that caused it. The driver raises it. The cluster's own failures (a node, worker or object was lost)
come as exceptions of Ray; another execution may overcome them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.errors import DataError, ModelLoadError, NodeError, StageError, StorageError, UsageError
from litelvlm.pipeline.shards.payload import DoneShard, pack, unpack


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exception on its way to the driver."""

    kind: str  # "usage", "storage", "data", "node" or "stage"
    message: str
    details: str
    node_id: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describe an exception; call it where the exception is handled."""
        details = traceback.format_exc()
        if isinstance(error, ModelLoadError):
            return cls(kind="usage", message=str(error), details=details)
        if isinstance(error, StorageError):
            return cls(kind="storage", message=str(error), details=details)
        if isinstance(error, DataError):
            return cls(kind="data", message=str(error), details=details)
        if isinstance(error, NodeError):
            return cls(kind="node", message=str(error), details=details, node_id=error.node_id)
        return cls(kind="stage", message=f"{type(error).__name__}: {error}", details=details)

    def throw(self) -> None:
        """Raises UsageError, StorageError, DataError, NodeError or StageError."""
        if self.kind == "usage":
            raise UsageError(self.message)
        if self.kind == "storage":
            raise StorageError(self.message)
        if self.kind == "data":
            raise DataError(self.message)
        if self.kind == "node":
            raise NodeError(self.message, self.node_id)
        raise StageError(f"{self.message}\n{self.details}")


def run_stage(stage: Callable[[Any], Any], batch: pa.Table) -> pa.Table:
    """Apply a stage to the one payload of a batch; failures and shards that are done pass through."""
    payload = unpack(batch)
    if isinstance(payload, Failure | DoneShard):
        return batch
    try:
        result = stage(payload)
    except Exception as error:  # noqa: BLE001 - raised again by the driver
        result = Failure.of(error)
    return pack(result)


def is_cluster_failure(error: BaseException) -> bool:
    """Whether Ray itself failed, which another execution may overcome."""
    from ray.data.exceptions import ExecutionTimeoutError, SystemException
    from ray.exceptions import RayError

    return isinstance(error, RayError | ExecutionTimeoutError | SystemException)
