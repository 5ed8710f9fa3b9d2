"""Each store once, for all of its tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.object_store import ObjectStore
from tests.stores.servers import KINDS, Kind


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """A store whose server is installed."""
    found: Kind = request.param
    found.skip_unless_installed()
    return found


@pytest.fixture(scope="session")
def store(kind: Kind) -> Iterator[ObjectStore]:
    """The running store, with an empty bucket."""
    with kind.start() as running:
        running.make_bucket("bucket")
        yield running


@pytest.fixture
def place(kind: Kind, store: ObjectStore) -> str:
    """A prefix of this test's own."""
    return f"{kind.url}/{uuid.uuid4().hex}"
