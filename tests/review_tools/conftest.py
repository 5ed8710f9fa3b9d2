"""A Label Studio for all tests, and a browser to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from litelvlm.pipeline.review.push.label_studio import KEY
from tests.browser.conftest import browser
from tests.review_tools.tools import TOKEN, label_studio

__all__ = ["browser"]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Its URL."""
    pytest.importorskip("label_studio_sdk", reason="make review-tools")
    with label_studio() as url:
        yield url


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its SDK, with the key of its user, which the environment has, too."""
    import label_studio_sdk

    sdk: Any = label_studio_sdk
    monkeypatch.setenv(KEY, TOKEN)
    return sdk.LabelStudio(base_url=server, api_key=TOKEN)
