"""What an error means to whoever started a run follows from its class."""

from __future__ import annotations

import pickle

import pytest

from litelvlm.pipeline.errors import (
    MISTAKES,
    AccessDeniedError,
    CredentialsError,
    DataError,
    ModelLoadError,
    RunError,
    StageError,
    StorageError,
    UsageError,
)


@pytest.mark.parametrize("kind", [UsageError, ModelLoadError, AccessDeniedError])
def test_mistakes_of_the_user_are_shown_as_one_line(kind: type[Exception]) -> None:
    assert issubclass(kind, MISTAKES)


@pytest.mark.parametrize("kind", [StorageError, CredentialsError, DataError, StageError, RunError])
def test_trouble_that_running_again_may_overcome_is_no_mistake(kind: type[Exception]) -> None:
    assert not issubclass(kind, MISTAKES)


@pytest.mark.parametrize("kind", [CredentialsError, AccessDeniedError])
def test_refusals_of_a_store_stop_a_run_as_all_trouble_of_it_does(kind: type[Exception]) -> None:
    assert issubclass(kind, StorageError)


@pytest.mark.parametrize("kind", [UsageError, AccessDeniedError, DataError, StageError])
def test_errors_travel_between_processes(kind: type[Exception]) -> None:
    again = pickle.loads(pickle.dumps(kind("why")))
    assert (type(again), str(again)) == (kind, "why")
