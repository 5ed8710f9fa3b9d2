"""Which network addresses a URL from an untrusted table may lead to: public ones."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from litelvlm.pipeline.fetch.policy import FetchError

Resolver = Callable[..., list[tuple[Any, ...]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # upper half of an interface id that ends with an IPv4 address
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is handed out to the public
# What Python's tables of this or that version call global.
_RESERVED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's host, which hands out secrets of the machine
            "192.0.0.0/24",  # protocol assignments, a metadata service among them
            "192.88.99.0/24",  # relays into 6to4
            "3fff::/20",  # documentation
        ),
    )
)


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
    """Whether an address is public, looking through IPv4 wrapped in IPv6 (mapped, 6to4, Teredo, NAT64, ISATAP)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if (int(parsed) >> 32) & 0xFFFFFFFF in _ISATAP:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        wrapped = [value for value in inner if value is not None]
        if wrapped:
            return all(is_public(str(value)) for value in wrapped)
        if parsed not in _UNICAST:
            return False
    reserved = any(parsed in network for network in _RESERVED if network.version == parsed.version)
    return parsed.is_global and not parsed.is_multicast and not reserved
