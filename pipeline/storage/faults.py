"""What an error of a store means, whichever library raised it: one classification for every reader and writer.

Codes decide where there are any (an S3 error code, an HTTP status, an errno), then types; the text never does. s3fs
translates botocore's errors into Python's and keeps the original as the cause, so causes are looked at as well.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import Enum
from typing import Any

from litelvlm.pipeline.errors import AccessDeniedError, CredentialsError, StorageError


class StoreFault(Enum):
    """What is to be done about an error."""

    MISSING = "missing"  # there is no such object
    EXISTS = "exists"  # a condition was not met: the object is there already
    FORBIDDEN = "forbidden"  # not with these credentials
    CREDENTIALS = "credentials"  # no credentials, or bad or expired ones
    TRANSIENT = "transient"  # another try may succeed
    EMPTY_RANGE = "empty range"  # the object ends before the bytes that were asked for
    UNSUPPORTED = "unsupported"  # the store does not know such a request, or a header of it
    PERMANENT = "permanent"  # another try would fail in the same way
    FOREIGN = "foreign"  # no error of a store at all, but of the program


_BY_CODE = {
    StoreFault.MISSING: {
        "BlobNotFound",
        "ContainerNotFound",
        "NoSuchBucket",
        "NoSuchKey",
        "NoSuchVersion",
        "NotFound",
        "ResourceNotFound",
    },
    StoreFault.EXISTS: {"BlobAlreadyExists", "ConditionNotMet", "PreconditionFailed"},
    StoreFault.FORBIDDEN: {
        "AccessDenied",
        "AccountIsDisabled",
        "AllAccessDisabled",
        "AuthorizationFailure",
        "AuthorizationPermissionMismatch",
        "AuthorizationSourceIPMismatch",
        "BlobArchived",
        "Forbidden",
        "InsufficientAccountPermissions",
        "InvalidObjectState",
        "PublicAccessNotPermitted",
    },
    StoreFault.CREDENTIALS: {
        "AuthFailure",
        "AuthenticationFailed",
        "CredentialsNotSupported",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidToken",
        "MissingSecurityHeader",
        "NoAuthenticationInformation",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    },
    # With a 4xx status, but no fault of the request: it was slow, cut or garbled on its way, or met another one.
    StoreFault.TRANSIENT: {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "Md5Mismatch",
        "NoSuchUpload",  # an upload whose end was answered, but the answer was lost; it starts over
        "OperationAborted",
        "OperationTimedOut",
        "RequestTimeout",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "rateLimitExceeded",  # Google's, with status 403 as well as 429
        "userRateLimitExceeded",
    },
    StoreFault.EMPTY_RANGE: {"InvalidRange"},
    StoreFault.UNSUPPORTED: {"NotImplemented"},
}
_BY_STATUS = {
    StoreFault.MISSING: {404, 410},
    StoreFault.EXISTS: {412},
    StoreFault.FORBIDDEN: {403},
    StoreFault.CREDENTIALS: {401},
    StoreFault.TRANSIENT: {408, 409, 425, 429},
    StoreFault.EMPTY_RANGE: {416},
    StoreFault.UNSUPPORTED: {501},
}
_BY_TYPE_NAME = {
    StoreFault.FORBIDDEN: {"GatedRepoError"},  # of the Hugging Face hub; before the next, of which it is one
    StoreFault.MISSING: {"EntryNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"},
    StoreFault.CREDENTIALS: {
        "ClientAuthenticationError",
        "CredentialRetrievalError",
        "DefaultCredentialsError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "RefreshError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    },
    StoreFault.PERMANENT: {
        "InvalidRegionError",
        "NoRegionError",
        "OfflineModeIsEnabled",
        "ParamValidationError",
        "ProfileNotFound",
        "SSLCertVerificationError",
    },
}
_BY_TYPE: tuple[tuple[type[BaseException], StoreFault], ...] = (
    (FileNotFoundError, StoreFault.MISSING),
    (FileExistsError, StoreFault.EXISTS),
    (PermissionError, StoreFault.FORBIDDEN),
    (IsADirectoryError, StoreFault.MISSING),  # no file of that name, and none below it
    (NotADirectoryError, StoreFault.MISSING),
    (NotImplementedError, StoreFault.UNSUPPORTED),
)
_PERMANENT_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG, errno.EXDEV}
_STATUS_ATTRIBUTE = {"aiohttp": "status", "azure": "status_code", "gcsfs": "code", "google": "code"}
_LIBRARIES = {
    "aiobotocore",
    "aiohttp",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "http",
    "httpcore",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "requests",
    "s3fs",
    "urllib3",
}


def classify(error: BaseException) -> StoreFault:
    """What the error means. An `OSError` that says nothing more is transient, a stranger's exception foreign."""
    chain = list(_causes(error))
    code = error_code(error)
    status = _status(chain)
    if code is not None and not code.isdigit():
        for fault, codes in _BY_CODE.items():
            if code in codes:
                return fault
    for fault, names in _BY_TYPE_NAME.items():
        if any(kind.__name__ in names for link in chain for kind in type(link).__mro__):
            return fault
    if status is not None:
        return _by_status(status)
    for kind, fault in _BY_TYPE:
        if isinstance(error, kind):
            return fault
    if isinstance(error, OSError):
        return StoreFault.PERMANENT if error.errno in _PERMANENT_ERRNOS else StoreFault.TRANSIENT
    known = any(_library(kind) in _LIBRARIES for kind in type(error).__mro__)
    return StoreFault.TRANSIENT if known else StoreFault.FOREIGN


def error_code(error: BaseException) -> str | None:
    """The code that the store gave with an error, such as `SlowDown`, None where it gave none."""
    for link in _causes(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code") or "") or None
        code = getattr(link, "error_code", None)
        if isinstance(code, str) and code:
            return str(getattr(code, "value", code))  # Azure's are of an enumeration, which hashes by its names
    return None


def stop_for(error: BaseException, what: str) -> StorageError:
    """The error that stops a run, in one line. `what` says what was being done."""
    if isinstance(error, StorageError):
        return error
    fault = classify(error)
    reason = error_code(error) or type(error).__name__
    if fault is StoreFault.CREDENTIALS:
        return CredentialsError(
            f"{what}: the credentials of the store are missing, expired or refused ({reason}); "
            "run the same command again with fresh ones, it resumes"
        )
    if fault is StoreFault.FORBIDDEN:
        return AccessDeniedError(f"{what}: permission denied ({reason})")
    text = " ".join(str(error).split())[:300]
    return StorageError(f"{what}: {reason}: {text}" if text else f"{what}: {reason}")


def _by_status(status: int) -> StoreFault:
    for fault, statuses in _BY_STATUS.items():
        if status in statuses:
            return fault
    return StoreFault.TRANSIENT if status >= 500 or status < 400 else StoreFault.PERMANENT


def _status(chain: list[BaseException]) -> int | None:
    """HTTP status of an error, where its library tells."""
    for link in chain:
        response = getattr(link, "response", None)
        if isinstance(response, dict) and "Error" in response:
            found: Any = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or response["Error"].get("Code")
            return int(found) if str(found).isdigit() else None
        value = getattr(response, "status_code", None)
        if value is None:
            value = getattr(link, _STATUS_ATTRIBUTE.get(_library(type(link)), ""), None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    return None


def _library(kind: type) -> str:
    return kind.__module__.split(".")[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(8):
        if link is None:
            return
        yield link
        link = link.__cause__
