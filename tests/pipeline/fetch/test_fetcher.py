"""Objects and URLs are read within their limits; everything else ends as a reason without secrets."""

import contextlib
import datetime
import errno
import http.server
import pickle
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from aiohttp import ClientPayloadError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from litelvlm.pipeline.errors import CredentialsError
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.http import TransientError, http_get
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from tests.pipeline.fetch.fetching import BODY, failure_code, fetcher_for

# ---- object stores ----


@pytest.fixture(scope="module")
def s3_options() -> Iterator[Any]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "someone", "secret": "secret"}
    client = boto3.client(
        "s3", endpoint_url=options["endpoint_url"], aws_access_key_id="someone", aws_secret_access_key="secret",
        region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="bucket")
    for key, body in {"images/a b#1.jpg": BODY, "images/empty.jpg": b"", "images/100%25.jpg": b"percent"}.items():
        client.put_object(Bucket="bucket", Key=key, Body=body)
    yield options
    server.stop()


def test_objects(s3_options: Any) -> None:
    fetcher = fetcher_for(
        UriPolicy.for_input("s3://bucket/in/*.parquet", image_root="s3://bucket/images"), **s3_options
    )
    assert fetcher.fetch("s3://bucket/images/a b#1.jpg") == BODY
    assert fetcher.fetch("a b#1.jpg") == BODY
    assert fetcher.fetch("100%25.jpg") == b"percent"
    assert fetcher.fetch("empty.jpg") == b""
    assert failure_code(fetcher, "nope.jpg") == "not_found"
    assert failure_code(fetcher, "s3://other/a.jpg") == "refused"


def test_object_limits_and_nested_options(s3_options: Any) -> None:
    policy = UriPolicy(manifest_is_local=True, max_bytes=len(BODY) - 1)
    fetcher = fetcher_for(policy, s3=s3_options)
    assert failure_code(fetcher, "s3://bucket/images/a b#1.jpg") == "too_many_bytes"
    assert failure_code(fetcher, "s3://missing-bucket/a.jpg") == "not_found"


def test_a_fetcher_travels_without_its_connections(s3_options: Any) -> None:
    fetcher = ImageFetcher(UriPolicy.for_input("s3://bucket/in/"), s3_options)
    assert fetcher.fetch("s3://bucket/images/a b#1.jpg") == BODY
    assert pickle.loads(pickle.dumps(fetcher)).fetch("s3://bucket/images/a b#1.jpg") == BODY


class _FaultyStore:
    """A store whose reads fail in a given order, then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.reads = 0

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        self.reads += 1
        if self.errors:
            raise self.errors.pop(0)
        return BODY[start:end]


class NoCredentialsError(Exception):
    """Named as the one of botocore, which is no OSError."""


class CredentialRetrievalError(Exception):
    """As above."""


@pytest.mark.parametrize(
    ("errors", "code", "reads"),
    [
        ([OSError("500 secret"), ConnectionResetError(), TimeoutError()], None, 4),
        ([OSError("secret")] * 9, "unavailable", 8),
        ([OSError(errno.ENOSYS, "secret"), ClientPayloadError("secret")], None, 3),
        ([PermissionError("secret")], "forbidden", 1),
        ([FileNotFoundError("secret")], "not_found", 1),
        ([ImportError("secret")], "unsupported", 1),
        ([ValueError("secret")], "bad_uri", 1),
    ],
)
def test_only_what_may_pass_is_tried_again(errors: Any, code: Any, reads: int) -> None:
    pauses: list[float] = []
    fetcher = ImageFetcher(UriPolicy(manifest_is_local=True), sleep=pauses.append)
    store = _FaultyStore(*errors)
    fetcher._filesystems["s3"] = store
    if code is None:
        assert fetcher.fetch("s3://bucket/a.jpg") == BODY
    else:
        assert failure_code(fetcher, "s3://bucket/a.jpg") == code
    assert store.reads == reads
    assert len(pauses) == reads - 1
    assert all(0 <= pause <= 2**index for index, pause in enumerate(pauses))


@pytest.mark.parametrize("error", [NoCredentialsError("secret"), CredentialRetrievalError("secret")])
def test_missing_credentials_are_no_records_fault(error: Any) -> None:
    fetcher = ImageFetcher(UriPolicy(manifest_is_local=True), sleep=lambda _: None)
    store = _FaultyStore(error, error)
    fetcher._filesystems["s3"] = store
    with pytest.raises(CredentialsError, match="fresh ones") as caught:
        fetcher.fetch("s3://bucket/a.jpg")
    assert "secret" not in str(caught.value)
    assert store.reads == 1


@pytest.mark.slow
def test_tries_of_a_store_are_not_multiplied(web: Any) -> None:
    options = {"endpoint_url": web, "key": "someone", "secret": "secret", "client_kwargs": {"region_name": "us-east-1"}}
    slow_down: Any = (503, {}, b"<Error><Code>SlowDown</Code></Error>")
    found = (200, {"Content-Length": str(len(BODY)), "ETag": '"x"'}, BODY)
    _Handler.answers["/bucket/a.jpg"] = [slow_down, slow_down, found]
    _Handler.answers["/bucket/b.jpg"] = [slow_down]
    fetcher = ImageFetcher(UriPolicy(manifest_is_local=True), options, sleep=lambda _: None)
    assert fetcher.fetch("s3://bucket/a.jpg") == BODY
    assert len([path for _, path in _Handler.seen if path == "/bucket/a.jpg"]) == 3
    assert failure_code(fetcher, "s3://bucket/b.jpg") == "unavailable"
    assert len([path for _, path in _Handler.seen if path == "/bucket/b.jpg"]) == 8


# ---- HTTP ----


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, list[tuple[int, dict[str, str], bytes]]]] = {}
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.headers["Host"], self.path))
        route = self.path.partition("?")[0]
        if route.startswith("/drip"):
            self._drip(in_header=route == "/drip-header")
            return
        queue = self.answers.get(route, [(404, {}, b"")])
        status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def _drip(self, *, in_header: bool) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Long: " if in_header else b"\r\n"))
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def _serve(context: ssl.SSLContext | None = None) -> Iterator[Any]:
    _Handler.answers, _Handler.seen = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web() -> Iterator[Any]:
    with _serve() as port:
        yield f"http://127.0.0.1:{port}"


def test_http(web: Any) -> None:
    _Handler.answers["/a"] = [(200, {"Content-Length": str(len(BODY))}, BODY)]
    _Handler.answers["/no-length"] = [(200, {}, BODY)]
    fetcher = fetcher_for(UriPolicy(allowed_prefixes=(web,)))
    assert fetcher.fetch(f"{web}/a?token=secret") == BODY
    assert _Handler.seen[-1][1] == "/a?token=secret"
    assert fetcher.fetch(f"{web}/no-length") == BODY


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (410, "not_found"), (401, "forbidden"), (403, "forbidden"), (418, "http_status")],
)
def test_http_answers_that_stay(web: Any, status: int, code: str) -> None:
    _Handler.answers["/a"] = [(status, {}, b"")]
    assert failure_code(fetcher_for(UriPolicy(allowed_prefixes=(web,))), f"{web}/a?sig=secret") == code
    assert len(_Handler.seen) == 1


def test_http_answers_that_may_pass(web: Any) -> None:
    failed = (503, {"Retry-After": "2"}, b"")
    _Handler.answers["/a"] = [failed, (500, {}, b""), (200, {}, BODY)]
    _Handler.answers["/cut"] = [(200, {"Content-Length": str(len(BODY) + 1)}, BODY), (200, {}, BODY)]
    pauses: list[float] = []
    fetcher = ImageFetcher(UriPolicy(allowed_prefixes=(web,)), sleep=pauses.append)
    assert fetcher.fetch(f"{web}/a") == BODY
    assert pauses[0] == 2.0
    assert pauses[1] <= 1.0
    assert fetcher.fetch(f"{web}/cut") == BODY
    _Handler.answers["/always"] = [failed]
    assert failure_code(fetcher, f"{web}/always?sig=secret") == "unavailable"


def test_http_limits(web: Any) -> None:
    _Handler.answers["/declared"] = [(200, {"Content-Length": "1000000000000"}, b"")]
    _Handler.answers["/undeclared"] = [(200, {}, bytes(3_000_000))]
    fetcher = fetcher_for(UriPolicy(allowed_prefixes=(web,), max_bytes=1_000_000))
    assert failure_code(fetcher, f"{web}/declared") == "too_many_bytes"
    assert failure_code(fetcher, f"{web}/undeclared") == "too_many_bytes"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["drip", "drip-header"])
def test_a_dripping_server_is_cut_off(web: Any, path: str) -> None:
    fetcher = fetcher_for(UriPolicy(allowed_prefixes=(web,), timeout_s=0.3, max_attempts=1))
    started = time.monotonic()
    assert failure_code(fetcher, f"{web}/{path}") == "unavailable"
    assert time.monotonic() - started < 2


def test_every_redirect_is_judged(web: Any) -> None:
    port = web.rpartition(":")[2]
    _Handler.answers["/ok/a"] = [(200, {}, BODY)]
    redirects = {
        "same": "/ok/a", "relative": "a", "loop": "/ok/loop", "outside": "/private", "other": f"http://localhost:{port}/ok/a",
        "file": "file:///etc/passwd", "s3": "s3://bucket/a.jpg", "metadata": "http://169.254.169.254/latest/",
        "climb": "/ok/%2e%2e/private", "user": f"http://u:secret@127.0.0.1:{port}/ok/a",
    }  # fmt: skip
    for name, location in redirects.items():
        _Handler.answers[f"/ok/{name}"] = [(302, {"Location": location}, b"")]
    fetcher = fetcher_for(UriPolicy(allowed_prefixes=(f"{web}/ok/",)))
    assert fetcher.fetch(f"{web}/ok/same") == BODY
    assert fetcher.fetch(f"{web}/ok/relative") == BODY
    for name in ("loop", "outside", "other", "file", "s3", "metadata", "climb", "user"):
        assert failure_code(fetcher, f"{web}/ok/{name}") in ("refused", "bad_uri"), name
    assert not any(path == "/private" for _, path in _Handler.seen)


def test_a_local_table_is_not_redirected_into_files(web: Any) -> None:
    _Handler.answers["/a"] = [(302, {"Location": "file:///etc/hostname"}, b"")]
    policy = UriPolicy(allowed_prefixes=(web,), manifest_is_local=True)
    assert failure_code(fetcher_for(policy), f"{web}/a") == "refused"


def test_loopback_is_refused_unless_the_host_is_named(web: Any) -> None:
    fetcher = fetcher_for(UriPolicy(allowed_prefixes=("http://", "https://")))
    port = web.rpartition(":")[2]
    for host in (
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ):
        assert failure_code(fetcher, f"http://{host}:{port}/a") in ("refused", "unknown_host")
    assert _Handler.seen == []


def _resolve_to_loopback(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
    return [(2, 1, 6, "", ("127.0.0.1", port))]


def test_the_judged_address_is_the_one_connected_to(web: Any) -> None:
    port = web.rpartition(":")[2]
    _Handler.answers["/a"] = [(200, {}, BODY)]
    policy = UriPolicy(allowed_prefixes=(f"http://pictures.example:{port}/",))
    target = policy.resolve(f"http://pictures.example:{port}/a")
    assert http_get(target, policy, resolver=_resolve_to_loopback) == BODY
    assert _Handler.seen == [(f"pictures.example:{port}", "/a")]


def test_tls_is_verified_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = _self_signed(tmp_path, "pictures.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with _serve(context) as port:
        _Handler.answers["/a"] = [(200, {}, BODY)]
        policy = UriPolicy(allowed_prefixes=(f"https://pictures.example:{port}", f"https://other.example:{port}"))
        good, wrong = (policy.resolve(f"https://{name}.example:{port}/a") for name in ("pictures", "other"))
        assert http_get(good, policy, resolver=_resolve_to_loopback) == BODY
        with pytest.raises(FetchError, match="tls: "):
            http_get(wrong, policy, resolver=_resolve_to_loopback)


def test_a_refused_connection_may_pass() -> None:
    policy = UriPolicy(allowed_prefixes=("http://127.0.0.1:9",))
    with pytest.raises(TransientError, match="ConnectionRefusedError"):
        http_get(policy.resolve("http://127.0.0.1:9/a"), policy)


def _self_signed(directory: Any, name: str) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
