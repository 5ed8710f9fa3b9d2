"""Errors between the stages and the driver: what each becomes, what passes through, what is Ray's own."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ray.data.exceptions import SystemException
from ray.exceptions import NodeDiedError

from litelvlm.pipeline.errors import (
    CredentialsError,
    DataError,
    ModelLoadError,
    NodeError,
    StageError,
    StorageError,
    UsageError,
)
from litelvlm.pipeline.shards.payload import DoneShard, pack, unpack
from litelvlm.pipeline.stages.failures import Failure, is_cluster_failure, run_stage
from tests.pipeline.samples import shard_marker


def raising(error: Exception) -> Any:
    def stage(payload: object) -> object:
        raise error

    return stage


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ModelLoadError("no checkpoint"), UsageError, "no checkpoint"),
        (StorageError("gone"), StorageError, "gone"),
        (CredentialsError("expired"), StorageError, "expired"),
        (DataError("damaged"), DataError, "damaged"),
        (NodeError("node n: no file", "1f"), NodeError, "node n: no file"),
        (ZeroDivisionError("by zero"), StageError, "ZeroDivisionError: by zero"),
        (ValueError("a bug"), StageError, "ValueError: a bug"),
    ],
)
def test_an_error_reaches_the_driver_as_what_it_means(error: Exception, kind: type[Exception], message: str) -> None:
    failure = unpack(run_stage(raising(error), pack(1)))
    with pytest.raises(kind) as caught:
        pickle.loads(pickle.dumps(failure)).throw()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(message)


def test_a_broken_stage_comes_with_its_traceback_and_others_in_one_line() -> None:
    with pytest.raises(StageError, match=r"(?s)by zero\nTraceback.*in stage"):
        unpack(run_stage(raising(ZeroDivisionError("by zero")), pack(1))).throw()
    with pytest.raises(DataError) as caught:
        unpack(run_stage(raising(DataError("damaged")), pack(1))).throw()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("payload", [Failure(kind="data", message="m", details="d"), DoneShard(marker=shard_marker())])
def test_failures_and_shards_that_are_done_pass_through_untouched(payload: object) -> None:
    batch = pack(payload)
    assert run_stage(raising(AssertionError("called")), batch) is batch


def test_results_are_packed() -> None:
    assert unpack(run_stage(lambda number: number + 1, pack(41))) == 42


def test_only_rays_own_errors_are_the_clusters() -> None:
    assert is_cluster_failure(NodeDiedError("a node died"))
    assert is_cluster_failure(SystemException())
    for error in (StageError("x"), StorageError("x"), RuntimeError("x"), KeyboardInterrupt()):
        assert not is_cluster_failure(error)
