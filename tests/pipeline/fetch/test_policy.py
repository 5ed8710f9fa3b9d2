"""What a table may name: everything else is refused before anything is opened."""

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy, redact_uri

LOCAL = UriPolicy.for_input("data/*.parquet")
LOCAL_ROOT = UriPolicy.for_input("data/*.parquet", image_root="/data/images")
REMOTE = UriPolicy.for_input("s3://bucket/in/*.parquet")
REMOTE_ROOT = UriPolicy.for_input("s3://bucket/in/*.parquet", image_root="s3://pictures/set1")
WEB = UriPolicy.for_input("s3://bucket/in/", allowed_prefixes=("https://img.example.com/set1/", "http://cache:8080"))
ANY_WEB = UriPolicy.for_input("data.parquet", allowed_prefixes=("https://", "http://"))

ALLOWED = [
    (LOCAL, "/data/a.jpg", "/data/a.jpg"),
    (LOCAL, "file:///data/a%20b.jpg", "/data/a b.jpg"),
    (LOCAL, "file://localhost/data/a.jpg", "/data/a.jpg"),
    (LOCAL, "s3://any/a.jpg", "any/a.jpg"),
    (LOCAL_ROOT, "sub/a.jpg", "/data/images/sub/a.jpg"),
    (LOCAL_ROOT, "a..b.jpg", "/data/images/a..b.jpg"),
    (REMOTE, "s3://bucket/images/a.jpg", "bucket/images/a.jpg"),
    (REMOTE, "s3a://bucket/a#1?.jpg", "bucket/a#1?.jpg"),
    (REMOTE_ROOT, "a.jpg", "pictures/set1/a.jpg"),
    (REMOTE_ROOT, "s3://pictures/set1/sub/a.jpg", "pictures/set1/sub/a.jpg"),
    (WEB, "https://img.example.com/set1/a.jpg?sig=x&y=1", "https://img.example.com/set1/a.jpg?sig=x&y=1"),
    (WEB, "HTTPS://IMG.example.com:443/set1/a b.jpg#f", "https://img.example.com/set1/a%20b.jpg"),
    (WEB, "http://cache:8080/x", "http://cache:8080/x"),
    (ANY_WEB, "https://anything.example/", "https://anything.example/"),
    (UriPolicy(image_root="https://h.example/base/"), "ä b.jpg", "https://h.example/base/%C3%A4%20b.jpg"),
    (UriPolicy(image_root="/images", manifest_is_local=False), "a.jpg", "/images/a.jpg"),
    (UriPolicy(image_root="abfs://box@account.example/x"), "a.jpg", "box@account.example/x/a.jpg"),
]


@pytest.mark.parametrize(("policy", "uri", "location"), ALLOWED)
def test_allowed(policy: Any, uri: Any, location: Any) -> None:
    assert policy.resolve(uri).location == location


REFUSED = [
    (REMOTE, "/etc/passwd"),
    (REMOTE, "file:///etc/passwd"),
    (REMOTE, "FILE:///etc/passwd"),
    (REMOTE, "file:/etc/passwd"),
    (REMOTE, "s3://other/a.jpg"),
    (REMOTE, "s3://bucket.evil/a.jpg"),
    (REMOTE, "s3://bucket"),
    (REMOTE, "gs://bucket/a.jpg"),
    (REMOTE, "s3://\u202etekcub/a.jpg"),
    (REMOTE, f"s3://{'b' * 5000}/a.jpg"),
    (REMOTE, f"{'s' * 5000}://bucket/a.jpg"),
    (REMOTE, "http://169.254.169.254/latest/meta-data/"),
    (REMOTE, "a.jpg"),
    (REMOTE_ROOT, "s3://pictures/set10/a.jpg"),
    (REMOTE_ROOT, "s3://pictures/set1/../private/a.jpg"),
    (REMOTE_ROOT, "../private/a.jpg"),
    (REMOTE_ROOT, "/etc/passwd"),
    (LOCAL_ROOT, "../a.jpg"),
    (LOCAL_ROOT, "sub/../../a.jpg"),
    (LOCAL_ROOT, "%2e%2e/a.jpg"),
    (LOCAL_ROOT, "%252e%252e/a.jpg"),
    (LOCAL_ROOT, "..%2fa.jpg"),
    (LOCAL_ROOT, "..\\a.jpg"),
    (LOCAL_ROOT, "a\0.jpg"),
    (LOCAL_ROOT, "a\n.jpg"),
    (LOCAL_ROOT, "a\ud800.jpg"),
    (WEB, "https://img.example.com/set1/\ud800"),
    (LOCAL_ROOT, "C:/windows/a.jpg"),
    (LOCAL_ROOT, "data:image/png;base64,AAAA"),
    (LOCAL_ROOT, "javascript:alert(1)"),
    (LOCAL, "file://host/share/a.jpg"),
    (LOCAL, "file:///data/%2e%2e/a.jpg"),
    (LOCAL, "a.jpg"),
    (LOCAL, ""),
    (LOCAL, "x" * 9000),
    (LOCAL, "http://127.0.0.1/"),
    (LOCAL, "https://example.com/a.jpg"),
    (LOCAL, "ftp://example.com/a.jpg"),
    (LOCAL, "zip://a.jpg::s3://bucket/a.zip"),
    (LOCAL, "simplecache::s3://bucket/a.jpg"),
    (WEB, "https://img.example.com/set2/a.jpg"),
    (WEB, "https://img.example.com/set1/%2e%2e/set2/a.jpg"),
    (WEB, "https://img.example.com:444/set1/a.jpg"),
    (WEB, "http://img.example.com/set1/a.jpg"),
    (WEB, "https://img.example.com.evil.example/set1/a.jpg"),
    (WEB, "https://img.example.com@evil.example/set1/a.jpg"),
    (WEB, "https://user:secret@img.example.com/set1/a.jpg"),
    (WEB, "https://evil.example\\@img.example.com/set1/a.jpg"),
    (WEB, "https://evil.example#@img.example.com/set1/"),
    (WEB, "https:///set1/a.jpg"),
    (WEB, "https://img.example.com:port/set1/"),
    (WEB, "https://[::1/set1/"),
    (ANY_WEB, "https://ex ample.com/"),
    (ANY_WEB, "https://exa\tmple.com/"),
]


@pytest.mark.parametrize(("policy", "uri"), REFUSED)
def test_refused(policy: Any, uri: Any) -> None:
    with pytest.raises(FetchError) as caught:
        policy.resolve(uri)
    assert caught.value.code in ("refused", "bad_uri")
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 320


def test_only_an_explicit_host_may_be_private() -> None:
    assert WEB.resolve("http://cache:8080/x").may_be_private
    assert not ANY_WEB.resolve("http://cache:8080/x").may_be_private


@pytest.mark.parametrize("prefix", ["ftp://x/", "a/../b", "https://u:p@host/", "https:///x", "data:x", "x\0"])
def test_prefixes_are_checked(prefix: str) -> None:
    with pytest.raises(ValueError, match="--allow-prefix") as caught:
        UriPolicy(allowed_prefixes=(prefix,))
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"timeout_s": 0}, {"max_attempts": 0}])
def test_limits_are_checked(limits: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        UriPolicy(**limits)


def test_redaction() -> None:
    assert redact_uri("https://user:secret@h.example/a.jpg?X-Amz-Signature=secret#x") == "https://h.example/a.jpg"
    assert redact_uri("https://h.example?token=secret") == "https://h.example"
    assert redact_uri("s3://bucket/a?b#c.jpg") == "s3://bucket/a?b#c.jpg"
    assert redact_uri("a\n\u202eb") == "a??b"
    assert len(redact_uri("s3://b/" + "x" * 1000)) == 200


def test_policies_and_errors_travel() -> None:
    assert pickle.loads(pickle.dumps(WEB)) == WEB
    error = pickle.loads(pickle.dumps(FetchError("refused", "a: b")))
    assert (error.code, str(error)) == ("refused", "refused: a: b")


PIECES = st.sampled_from(
    [
        "s3://",
        "file://",
        "http://",
        "https://",
        "bucket",
        "pictures",
        "set1",
        "/",
        "//",
        "..",
        ".",
        "%2e",
        "%2f",
        "%5c",
        "\\",
        "@",
        "?",
        "#",
        ":",
        "img.example.com",
        "127.0.0.1",
        "[::1]",
        "a.jpg",
        "\x00",
        "%00",
        "%",
        "ä",
        "::",
        "etc",
        "passwd",
    ]
)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=9).map("".join)))
def test_no_uri_leaves_what_is_allowed(uri: Any) -> None:
    for policy in (REMOTE_ROOT, LOCAL_ROOT, WEB):
        try:
            target = policy.resolve(uri)
        except FetchError as error:
            reason = str(error)
            assert reason.isprintable(), uri
            continue
        location = target.location
        assert "\0" not in location
        if target.kind == "file":
            assert policy is LOCAL_ROOT
            assert target.roots
        elif target.kind == "object" and policy is REMOTE_ROOT:
            assert location.startswith(("bucket/", "pictures/set1/"))
            assert ".." not in location.split("/")
        elif target.kind == "http":
            assert policy is WEB
            assert location.startswith(("https://img.example.com/set1/", "http://cache:8080/"))
