"""HTTP GET of untrusted URLs: every redirect is judged again, the address that was judged is the one connected to,
and the whole answer is bounded in bytes and in time."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from litelvlm.pipeline.fetch.addresses import Resolver, public_address
from litelvlm.pipeline.fetch.policy import FetchError, PermittedRead, UriPolicy, redact_uri

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT_STATUS = (301, 302, 303, 307, 308)
_HEADERS = {
    "User-Agent": "litelvlm",
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class TransientError(Exception):
    """A failure worth another attempt. `retry_after_s` is what the server asked for, or None."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


def http_get(target: PermittedRead, policy: UriPolicy, *, resolver: Resolver = socket.getaddrinfo) -> bytes:
    """One attempt at the body of a permitted URL.

    Raises FetchError when it is refused, missing, forbidden or too large, TransientError when another attempt may help.
    """
    deadline = time.monotonic() + policy.timeout_s
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            body, location = _get_once(target, policy, deadline, resolver)
        except ssl.SSLCertVerificationError:
            raise FetchError("tls", f"{redact_uri(target.location)}: the certificate cannot be verified") from None
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(type(error).__name__) from None
        if location is None:
            return body
        target = policy.resolve(_joined(target.location, location))
        if target.kind != "http":
            raise FetchError("refused", "redirected to something that is not http")
    raise FetchError("refused", f"{redact_uri(target.location)}: more than {_MAX_REDIRECTS} redirects")


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:  # brackets that hold no address
        raise FetchError("bad_uri", "redirected to something that is no URL") from None


def _get_once(
    target: PermittedRead, policy: UriPolicy, deadline: float, resolver: Resolver
) -> tuple[bytes, str | None]:
    """The body, or where it redirects to."""
    parts = urlsplit(target.location)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    addresses = public_address(host, port, may_be_private=target.may_be_private, resolver=resolver)
    with _connect(addresses, port, host if parts.scheme == "https" else None, deadline) as connected:
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(host, port)
        connection.sock = connected
        headers = _HEADERS | policy.headers_for(target.location)
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        response = connection.getresponse()
        try:
            if response.status in _REDIRECT_STATUS and (location := response.getheader("Location")):
                return b"", location
            _check_status(response, target)
            return _read_body(response, target, policy.max_bytes, deadline), None
        finally:
            response.close()


@contextlib.contextmanager
def _connect(addresses: list[str], port: int, tls_host: str | None, deadline: float) -> Iterator[socket.socket]:
    """A socket that is cut at the deadline, so that a server that sends a byte a minute cannot hold it."""
    connected = _first_reachable(addresses, port, deadline)
    try:
        if tls_host is not None:
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=tls_host, do_handshake_on_connect=False)
        timer = threading.Timer(_remaining(deadline), _cut, (connected,))
        timer.daemon = True
        timer.start()
        try:
            connected.settimeout(_remaining(deadline))
            if isinstance(connected, ssl.SSLSocket):
                connected.do_handshake()
            yield connected
        finally:
            timer.cancel()
    finally:
        connected.close()


def _first_reachable(addresses: list[str], port: int, deadline: float) -> socket.socket:
    error: OSError = ConnectionRefusedError()
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_remaining(deadline))
        except OSError as failed:
            error = failed
    raise error


def _cut(connected: socket.socket) -> None:
    # The base class's method: TLS's own would touch state that the reading thread uses.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _check_status(response: http.client.HTTPResponse, target: PermittedRead) -> None:
    status, uri = response.status, redact_uri(target.location)
    if status == 200:
        return
    if status in _TRANSIENT_STATUS:
        asked = response.getheader("Retry-After") or ""
        raise TransientError(f"HTTP {status}", float(asked) if asked.isdecimal() else None)
    code = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}.get(status, "http_status")
    raise FetchError(code, f"{uri} answers {status}")


def _read_body(response: http.client.HTTPResponse, target: PermittedRead, max_bytes: int, deadline: float) -> bytes:
    declared = response.length or 0
    chunks: list[bytes] = []
    total = 0
    while declared <= max_bytes and total <= max_bytes:
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            _remaining(deadline)  # a connection cut at the deadline also reads as an end
            if response.length:
                raise ConnectionError
            return b"".join(chunks)
        chunks.append(chunk)
        total += len(chunk)
    raise FetchError("too_many_bytes", f"{redact_uri(target.location)} is larger than {max_bytes} bytes")
