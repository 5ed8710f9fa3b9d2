"""The part of Label Studio's SDK that says what a server refused, for machines without it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest


class ApiError(Exception):
    """As the SDK's."""

    def __init__(self, *, status_code: int, body: str) -> None:
        super().__init__(status_code, body)


@pytest.fixture(autouse=True)
def _sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "label_studio_sdk.core.api_error", SimpleNamespace(ApiError=ApiError))
