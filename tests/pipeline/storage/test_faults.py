"""What an error of a store means, whichever library raised it."""

from __future__ import annotations

import errno
import importlib
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
    ("code", "status", "fault"),
    [
        ("BLOB_NOT_FOUND", 404, StoreFault.MISSING),
        ("CONTAINER_NOT_FOUND", 404, StoreFault.MISSING),
        ("BLOB_ALREADY_EXISTS", 409, StoreFault.EXISTS),
        ("CONDITION_NOT_MET", 412, StoreFault.EXISTS),
        ("AUTHENTICATION_FAILED", 403, StoreFault.CREDENTIALS),
        ("NO_AUTHENTICATION_INFORMATION", 401, StoreFault.CREDENTIALS),
        ("AUTHORIZATION_FAILURE", 403, StoreFault.FORBIDDEN),
        ("SERVER_BUSY", 503, StoreFault.TRANSIENT),
        ("OPERATION_TIMED_OUT", 500, StoreFault.TRANSIENT),
        ("MD5_MISMATCH", 400, StoreFault.TRANSIENT),
        ("INVALID_RANGE", 416, StoreFault.EMPTY_RANGE),
        ("INVALID_HEADER_VALUE", 400, StoreFault.PERMANENT),
        (None, 429, StoreFault.TRANSIENT),
        (None, 503, StoreFault.TRANSIENT),
        (None, 404, StoreFault.MISSING),
        (None, None, StoreFault.TRANSIENT),
    ],
)
def test_what_azures_errors_mean(code: str | None, status: int | None, fault: StoreFault) -> None:
    """Its codes are members of an enumeration, equal to their texts and hashed otherwise."""
    exceptions = pytest.importorskip("azure.core.exceptions", reason="pip install '.[azure]'")
    codes = pytest.importorskip("azure.storage.blob").StorageErrorCode
    error = exceptions.HttpResponseError("refused")
    error.status_code = status
    error.error_code = code and codes[code]
    assert classify(error) is fault
    assert error_code(error) == (code and codes[code].value)


@pytest.mark.parametrize("name", ["ServiceRequestError", "ServiceResponseError", "ServiceResponseTimeoutError"])
def test_azure_connections_that_break_may_be_whole_next_time(name: str) -> None:
    exceptions = pytest.importorskip("azure.core.exceptions", reason="pip install '.[azure]'")
    assert classify(getattr(exceptions, name)("cut")) is StoreFault.TRANSIENT


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("NotFound", StoreFault.MISSING),
        ("PreconditionFailed", StoreFault.EXISTS),
        ("Unauthorized", StoreFault.CREDENTIALS),
        ("Forbidden", StoreFault.FORBIDDEN),
        ("TooManyRequests", StoreFault.TRANSIENT),
        ("ServiceUnavailable", StoreFault.TRANSIENT),
        ("BadRequest", StoreFault.PERMANENT),
        ("RetryError", StoreFault.TRANSIENT),
    ],
)
def test_what_googles_errors_mean(name: str, fault: StoreFault) -> None:
    kind = getattr(pytest.importorskip("google.api_core.exceptions"), name)
    assert classify(kind("refused", None) if name == "RetryError" else kind("refused")) is fault


def test_what_gcsfs_raises_is_read_by_its_status() -> None:
    retry = pytest.importorskip("gcsfs.retry", reason="pip install '.[gcs]'")
    found = [classify(retry.HttpError({"code": code, "message": "x"})) for code in (401, 403, 429, 503, 416)]
    transient = StoreFault.TRANSIENT
    assert found == [StoreFault.CREDENTIALS, StoreFault.FORBIDDEN, transient, transient, StoreFault.EMPTY_RANGE]
    refresh = pytest.importorskip("google.auth.exceptions").RefreshError("expired")
    assert classify(refresh) is StoreFault.CREDENTIALS


def test_what_the_hub_raises_is_an_error_of_a_store() -> None:
    errors = pytest.importorskip("huggingface_hub.errors")
    client = next(kind.__module__ for kind in errors.HfHubHTTPError.__mro__[1:] if "http" in kind.__module__)
    httpx = importlib.import_module(client.split(".")[0])

    def answer(kind: Any, status: int) -> Any:
        return kind("refused", response=httpx.Response(status, request=httpx.Request("GET", "https://h/x")))

    found = [classify(answer(errors.HfHubHTTPError, status)) for status in (401, 404, 429, 503, 400)]
    credentials, missing, transient, permanent = (
        StoreFault.CREDENTIALS,
        StoreFault.MISSING,
        StoreFault.TRANSIENT,
        StoreFault.PERMANENT,
    )
    assert found == [credentials, missing, transient, transient, permanent]
    assert classify(answer(errors.RepositoryNotFoundError, 401)) is missing
    assert classify(answer(errors.GatedRepoError, 403)) is StoreFault.FORBIDDEN
    assert classify(errors.OfflineModeIsEnabled("offline")) is permanent
    assert classify(httpx.ConnectError("Name or service not known")) is transient


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
