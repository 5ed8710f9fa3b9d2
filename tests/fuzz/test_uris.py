"""What a table may name, against an oracle that shares no code with the policy."""

from __future__ import annotations

import ipaddress
import os
import posixpath
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.fetch.addresses import public_address
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from tests.fuzz.attempt import attempt
from tests.fuzz.profiles import fuzz

pytestmark = pytest.mark.slow

REMOTE = UriPolicy.for_input("s3://bucket/in/t.parquet", allowed_prefixes=("https://img.example/set1/", "gs://other/x"))
ROOTED = UriPolicy.for_input("s3://bucket/in/t.parquet", image_root="s3://pictures/set1")
OPEN_WEB = UriPolicy.for_input("s3://bucket/in/t.parquet", allowed_prefixes=("http://", "https://"))


def _words(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word.replace("SPACE", " ").replace("NOTHING", "") for word in text.split()])


HOSTS = _words(
    """
    img.example IMG.EXAMPLE img.example. img.example:443 img.example:80 img.example.evil.example evil@img.example
    img.example@evil.example img.example#.evil.example evil.example\\@img.example bucket bucket.evil pictures other
    127.0.0.1 127.1 2130706433 0x7f000001 017700000001 127.0.0.1. １２７.0.0.1 localhost localhost. 0 0.0.0.0 [::1]
    [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [fe80::1] [fe80::1%25lo] [::127.0.0.1] [64:ff9b::7f00:1] [fec0::1]
    169.254.169.254 [::ffff:169.254.169.254] 2852039166 [fd00:ec2::254] 168.63.129.16 100.100.100.200 192.0.0.192
    10.0.0.1 192.168.1.1 [fc00::1] 8.8.8.8 [2606:4700::1111] [ ] NOTHING
    """
)
PATHS = st.lists(
    st.one_of(
        st.sampled_from("\0\n\t\u202e\u2025 "),
        _words("/ // .. . %2e%2e %252e%252e ..%2f %2f %5c \\ set1 set10 set2 x a.jpg ?x # ; %00 ä %ff + ~ * ．．"),
    ),
    max_size=8,
).map("".join)
SCHEMES = st.one_of(
    st.sampled_from(["\thttp://", "http\n://"]),
    _words(
        """
        s3:// s3a:// S3:// gs:// gcs:// az:// abfs:// http:// https:// HTTPS:// http:/ http: // NOTHING file:// file:/
        FILE:/// file://localhost file://evil ftp:// data: javascript: gopher:// dict:// jar: zip://x:: simplecache::
        github:// s3://s3:// memory:// reference:: hTTp:///
        """
    ),
)
URIS = st.one_of(st.builds("{}{}/{}".format, SCHEMES, HOSTS, PATHS), st.builds("{}{}".format, SCHEMES, PATHS), PATHS)


def _segments(path: str) -> Iterator[str]:
    """Segments of a path in every spelling that some server decodes it to."""
    for _ in range(5):
        yield from path.replace("\\", "/").split("/")
        path = unquote(path)


def _may_read(policy: UriPolicy, kind: str, location: str) -> bool:
    """The oracle: where the tests' policies may read, put plainly."""
    assert not any(ord(char) < 32 for char in location)
    climbs = ".." in _segments(urlsplit(location).path if kind == "http" else location)
    if kind == "file" or climbs:
        return False
    if kind == "object":
        inside = ("bucket/", "other/x/", "other/x") if policy is REMOTE else ("bucket/", "pictures/set1/")
        return location.startswith(inside) or (policy is not REMOTE and location == "pictures/set1")
    parts = urlsplit(location)
    if parts.username is not None or parts.password is not None or not parts.hostname:
        return False
    if policy is OPEN_WEB:
        return parts.scheme in ("http", "https")
    is_named = (parts.scheme, parts.hostname, parts.port) == ("https", "img.example", None)
    return policy is REMOTE and is_named and posixpath.normpath(parts.path).startswith("/set1/")


@fuzz(1500)
@given(URIS, st.sampled_from((REMOTE, ROOTED, OPEN_WEB)))
def test_a_remote_table_reads_only_what_was_allowed(uri: Any, policy: Any) -> None:
    target, error = attempt(FetchError, policy.resolve, uri)
    if error is not None:
        assert error.code in ("refused", "bad_uri")
        assert str(error).isprintable()
        assert len(str(error)) < 400
        return
    assert _may_read(policy, target.kind, target.location), target


#: The address of each spelling that getaddrinfo understands, without asking a network.
_PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "168.63.129.16/32", "198.18.0.0/15", "224.0.0.0/3", "::/8", "64:ff9b:1::/48", "100::/64",
        "2001:db8::/32", "fc00::/7", "fe80::/9", "ff00::/8",
    )
]  # fmt: skip


def _is_private(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed in ipaddress.ip_network("64:ff9b::/96") or parsed in ipaddress.ip_network("::ffff:0:0/96"):
        parsed = ipaddress.ip_address(int(parsed) & 0xFFFFFFFF)
    return any(parsed in network for network in _PRIVATE if network.version == parsed.version)


@fuzz(600)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str))
def test_no_private_address_is_connected_to(address: Any) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answers = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    found, error = attempt(
        FetchError, public_address, "a.example", 80, may_be_private=False, resolver=lambda *_, **__: answers
    )
    if error is not None:
        assert error.code == "refused"
        return
    assert found == [address]
    assert not _is_private(address)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A directory with an image root, links that lead out of it, and something to steal beside it."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory).resolve()
        (base / "pictures" / "sub").mkdir(parents=True)
        (base / "secret").mkdir()
        (base / "secret" / "a.jpg").write_bytes(b"stolen")
        for name in ("a.jpg", "sub/a.jpg", "%2e%2e", "sub/..a.jpg"):
            (base / "pictures" / name).write_bytes(b"image")
        (base / "pictures" / "out").symlink_to(base / "secret")
        (base / "pictures" / "out.jpg").symlink_to(base / "secret" / "a.jpg")
        (base / "pictures" / "sub" / "up").symlink_to("..")
        yield base


LOCAL_PATHS = st.lists(
    st.sampled_from(
        [
            "/",
            "//",
            "..",
            ".",
            "%2e%2e",
            "sub",
            "up",
            "out",
            "out.jpg",
            "a.jpg",
            "..a.jpg",
            "pictures",
            "secret",
            "\0",
            "BASE",
        ]
    ),
    max_size=9,
).map("".join)


@fuzz(1500)
@given(st.sampled_from(("", "file://", "file://localhost", "BASE/", "file://BASE/pictures/")), LOCAL_PATHS)
def test_a_local_table_stays_in_the_image_root(tree: Path, scheme: Any, path: Any) -> None:
    uri = (scheme + path).replace("BASE", str(tree))
    policy = UriPolicy.for_input("t.parquet", image_root=str(tree / "pictures"))
    data, error = attempt(FetchError, ImageFetcher(policy).fetch, uri)
    if error is not None:
        assert str(error).isprintable()
        return
    assert data == b"image"
    location = os.path.realpath(policy.resolve(uri).location)
    assert location.startswith(f"{tree}/pictures/")


@fuzz(300)
@given(URIS)
def test_a_remote_table_never_reads_a_local_file(uri: Any) -> None:
    for policy in (REMOTE, OPEN_WEB, ROOTED):
        target, _ = attempt(FetchError, policy.resolve, uri)
        assert target is None or target.kind != "file"
