"""Which network addresses a URL from an untrusted table may lead to: public ones."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from pipeline.uri_policy import FetchError

Resolver = Callable[..., list[tuple[Any, ...]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def public_address(host: str, port: int, *, may_be_private: bool, resolver: Resolver = socket.getaddrinfo) -> list[str]:
    """The addresses to connect to for `host`.

    Connecting to what was checked here, not to the name, keeps a second look-up from answering differently. Raises
    FetchError when the name is unknown, or when any of its addresses is loopback, link-local, private or otherwise
    not public.
    """
    try:
        answers = resolver(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError("unknown_host", f"{host} has no address") from None
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not addresses:
        raise FetchError("unknown_host", f"{host} has no address")
    if not may_be_private and not all(is_public(address) for address in addresses):
        raise FetchError(
            "refused", f"{host} leads to an address that is not public; allow the host with --allow-prefix"
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is public, looking through IPv4 addresses wrapped in IPv6 (mapped, 6to4, Teredo, NAT64)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        wrapped = [value for value in inner if value is not None]
        if wrapped:
            return all(is_public(str(value)) for value in wrapped)
    return parsed.is_global and not parsed.is_multicast
