"""What is tried again, how often, how long; and what an error of a store means."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import ContentLengthError
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from litelvlm.pipeline.errors import AccessDeniedError, CredentialsError, StorageError
from litelvlm.pipeline.storage.retries import RETRY_SECONDS_VARIABLE, RetryPolicy, with_retries

POLICY = RetryPolicy()


def s3_error(code: str, status: int) -> BaseException:
    """An error as s3fs raises it."""
    response = {"Error": {"Code": code, "Message": "token=secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(ClientError(response, "GetObject"))


def payload_error() -> BaseException:
    """A body that ends early. Its cause carries the number 400, which is no status of an answer."""
    error = aiohttp.ClientPayloadError("Response payload is not completed")
    error.__cause__ = ContentLengthError("Not enough data")
    return error


def failing(*errors: BaseException) -> Any:
    """An action that fails in a given order, then succeeds; and the list of its calls."""
    left, calls = list(errors), []

    def act() -> str:
        calls.append(1)
        if left:
            raise left.pop(0)
        return "done"

    return act, calls


def test_errors_of_every_library_are_tried_again() -> None:
    act, calls = failing(
        TimeoutError(), ConnectionResetError(), payload_error(), s3_error("SlowDown", 503), s3_error("500", 500)
    )
    assert with_retries(act, "reading x", POLICY, sleep=lambda _: None) == "done"
    assert len(calls) == 6


def test_tries_end_and_the_last_error_is_named() -> None:
    act, calls = failing(*[ConnectionResetError("gone")] * 99)
    with pytest.raises(StorageError, match="reading x: ConnectionResetError: gone"):
        with_retries(act, "reading x", POLICY, sleep=lambda _: None)
    assert len(calls) == POLICY.tries


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (FileNotFoundError("no"), FileNotFoundError),
        (FileExistsError("no"), FileExistsError),
        (PermissionError("no"), AccessDeniedError),
        (s3_error("AccessDenied", 403), AccessDeniedError),
        (s3_error("ExpiredToken", 400), CredentialsError),
        (OSError(errno.ENOSPC, "full"), StorageError),
        (StorageError("said before"), StorageError),
        (KeyError("a bug"), KeyError),
    ],
)
def test_what_waiting_does_not_heal_is_raised_at_once(error: Any, raised: Any) -> None:
    act, calls = failing(error)
    with pytest.raises(raised):
        with_retries(act, "reading x", POLICY, sleep=lambda _: None)
    assert len(calls) == 1


def test_refused_credentials_are_told_in_one_line_with_the_way_out() -> None:
    act, _ = failing(s3_error("ExpiredToken", 400))
    with pytest.raises(CredentialsError) as caught:
        with_retries(act, "reading x", POLICY, sleep=lambda _: None)
    message = str(caught.value)
    assert "expired or refused (ExpiredToken)" in message
    assert "resumes" in message
    assert "\n" not in message
    assert "secret" not in message


def test_pauses_grow_are_random_and_add_up_to_no_more_than_was_asked() -> None:
    policy = RetryPolicy(seconds=60.0)
    samples = [[policy.pause_s(tried) for tried in range(1, policy.tries)] for _ in range(200)]
    assert max(sum(pauses) for pauses in samples) <= 60.0
    assert max(pauses[0] for pauses in samples) < 1.0
    assert max(pauses[-1] for pauses in samples) > 10.0
    assert min(pauses[-1] for pauses in samples) < 2.0


def test_slow_tries_end_by_the_clock_but_not_before_the_third() -> None:
    policy = RetryPolicy(seconds=60.0)
    assert not policy.ends(2, 1000.0)
    assert policy.ends(3, 61.0)
    assert not policy.ends(7, 59.0)
    assert policy.ends(8, 0.0)


def test_the_environment_sets_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRY_SECONDS_VARIABLE, raising=False)
    assert RetryPolicy.from_environment().seconds == 60.0
    monkeypatch.setenv(RETRY_SECONDS_VARIABLE, "2.5")
    assert RetryPolicy.from_environment().seconds == 2.5
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(RETRY_SECONDS_VARIABLE, wrong)
        with pytest.raises(ValueError, match=RETRY_SECONDS_VARIABLE):
            RetryPolicy.from_environment()
