"""Sizes, and settings that do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.serving.config import ServeConfig, parse_bytes


@pytest.mark.parametrize(
    ("given", "found"),
    [("1GiB", 1 << 30), ("500MB", 500_000_000), ("1.5KiB", 1536), ("12", 12), ("3 B", 3), ("2g", 2 * 10**9), (7, 7)],
)
def test_sizes(given: Any, found: int) -> None:
    assert parse_bytes(given) == found


@pytest.mark.parametrize("given", ["", "GiB", "1 XB", "-1GiB", "1e9", "nan"])
def test_what_is_no_size_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="--cache-bytes"):
        ServeConfig.from_flat({"cache_bytes": given})


def test_a_body_has_room_for_an_image_in_base64() -> None:
    limits = ServeConfig.from_flat({"max_bytes": "3000"}).limits
    assert limits.max_body == 4000 + (1 << 20)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),
        ("a.org", False),
    ],
)
def test_what_only_this_machine_can_reach(host: str, loopback: bool) -> None:
    assert ServeConfig.from_flat({"host": host}).is_loopback is loopback


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tls_key": "k.pem"}, "--tls-certificate"),
        ({"tls_client_ca": "c.pem"}, "--tls-client-ca"),
        ({"reviewed": "r"}, "--reviewed"),
        ({"port": 0}, "--port"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ServeConfig.from_flat(settings)
