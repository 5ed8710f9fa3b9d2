"""What an error of a store means, whichever library raised it."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import botocore.exceptions
import pytest

from litelvlm.pipeline.errors import AccessDeniedError, CredentialsError, StorageError
from litelvlm.pipeline.storage.faults import StoreFault, classify, error_code, stop_for
from tests.pipeline.storage.test_retries import payload_error, s3_error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (s3_error("NoSuchKey", 404), StoreFault.MISSING),
        (s3_error("404", 404), StoreFault.MISSING),
        (s3_error("PreconditionFailed", 412), StoreFault.EXISTS),
        (s3_error("AccessDenied", 403), StoreFault.FORBIDDEN),
        (s3_error("403", 403), StoreFault.FORBIDDEN),
        (s3_error("ExpiredToken", 400), StoreFault.CREDENTIALS),
        (s3_error("ExpiredToken", 403), StoreFault.CREDENTIALS),
        (s3_error("InvalidAccessKeyId", 403), StoreFault.CREDENTIALS),
        (s3_error("SignatureDoesNotMatch", 403), StoreFault.CREDENTIALS),
        (s3_error("RequestTimeTooSkewed", 403), StoreFault.CREDENTIALS),
        (s3_error("SlowDown", 503), StoreFault.TRANSIENT),
        (s3_error("InternalError", 500), StoreFault.TRANSIENT),
        (s3_error("502", 502), StoreFault.TRANSIENT),
        (s3_error("RequestTimeout", 400), StoreFault.TRANSIENT),
        (s3_error("IncompleteBody", 400), StoreFault.TRANSIENT),
        (s3_error("ConditionalRequestConflict", 409), StoreFault.TRANSIENT),
        (s3_error("NoSuchUpload", 404), StoreFault.TRANSIENT),
        (s3_error("InvalidRange", 416), StoreFault.EMPTY_RANGE),
        (s3_error("NotImplemented", 501), StoreFault.UNSUPPORTED),
        (s3_error("InvalidArgument", 400), StoreFault.PERMANENT),
        (payload_error(), StoreFault.TRANSIENT),
        (botocore.exceptions.ResponseStreamingError(error="cut"), StoreFault.TRANSIENT),
        (botocore.exceptions.HTTPClientError(error="cut"), StoreFault.TRANSIENT),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), StoreFault.TRANSIENT),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), StoreFault.TRANSIENT),
        (botocore.exceptions.NoCredentialsError(), StoreFault.CREDENTIALS),
        (botocore.exceptions.ParamValidationError(report="x"), StoreFault.PERMANENT),
        (TimeoutError(), StoreFault.TRANSIENT),
        (ConnectionResetError(), StoreFault.TRANSIENT),
        (OSError(errno.EIO, "disk"), StoreFault.TRANSIENT),
        (OSError(errno.ENOSPC, "full"), StoreFault.PERMANENT),
        (PermissionError(errno.EACCES, "no"), StoreFault.FORBIDDEN),
        (NotADirectoryError(), StoreFault.MISSING),
        (KeyError("a bug"), StoreFault.FOREIGN),
        (AttributeError("a bug"), StoreFault.FOREIGN),
    ],
    ids=lambda value: value.name if isinstance(value, StoreFault) else f"{type(value).__name__}",
)
def test_what_an_error_means(error: Any, fault: Any) -> None:
    assert classify(error) is fault


@pytest.mark.parametrize(
    ("status", "fault"),
    [(401, StoreFault.CREDENTIALS), (403, StoreFault.FORBIDDEN), (404, StoreFault.MISSING), (418, StoreFault.PERMANENT),
     (429, StoreFault.TRANSIENT), (503, StoreFault.TRANSIENT), (501, StoreFault.UNSUPPORTED)],
)  # fmt: skip
def test_an_http_status_tells_where_there_is_no_code(status: int, fault: StoreFault) -> None:
    class ResponseError(aiohttp.ClientError):
        pass

    error = ResponseError("refused")
    error.status = status  # type: ignore[attr-defined]
    ResponseError.__module__ = "aiohttp.errors"
    assert classify(error) is fault


def test_the_text_of_an_error_never_decides() -> None:
    assert classify(RuntimeError("SlowDown: 503 Service Unavailable")) is StoreFault.FOREIGN
    assert classify(OSError(errno.ENOSPC, "SlowDown")) is StoreFault.PERMANENT


def test_the_code_is_found_behind_what_the_library_made_of_it() -> None:
    assert error_code(s3_error("SlowDown", 503)) == "SlowDown"
    assert error_code(ValueError("SlowDown")) is None


def test_a_chain_of_causes_that_bites_its_tail_ends() -> None:
    first, second = KeyError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) is StoreFault.FOREIGN


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (s3_error("ExpiredToken", 400), CredentialsError, "reading x: the credentials of the store are missing"),
        (s3_error("AccessDenied", 403), AccessDeniedError, "reading x: permission denied (AccessDenied)"),
        (OSError(errno.ENOSPC, "No space\nleft"), StorageError, "reading x: OSError: [Errno 28] No space left"),
        (ConnectionResetError(), StorageError, "reading x: ConnectionResetError"),
    ],
)
def test_what_stops_a_run_says_in_one_line_what_was_being_done(
    error: BaseException, kind: type[StorageError], message: str
) -> None:
    found = stop_for(error, "reading x")
    assert type(found) is kind
    assert str(found).startswith(message)
    assert "\n" not in str(found)


def test_what_says_already_why_the_run_stops_is_kept() -> None:
    error = StorageError("said before")
    assert stop_for(error, "reading x") is error
