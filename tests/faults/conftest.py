"""A bucket to be disturbed, and two tempers to bear it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.storage.store import Storage
from tests.object_store import ObjectStore, object_store

PATIENT, HASTY = RetryPolicy(seconds=8.0), RetryPolicy(seconds=0.1)
CONTENT = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        running.filesystem().mkdir("bucket")
        yield ObjectStore(endpoint_url=running.endpoint_url, read_timeout_s=0.4)


@pytest.fixture
def place(store: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A prefix of this test's own, with some objects in it."""
    url = f"s3://bucket/{random.getrandbits(64):x}"
    direct = Storage(url, store.options)
    for name in ("a/one", "a/two", "a/empty"):
        direct.write_bytes(name, b"" if name == "a/empty" else CONTENT)
    return url
