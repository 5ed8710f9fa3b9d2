"""Only public addresses are connected to, however a host is spelt or an address is wrapped."""

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.pipeline.fetch.addresses import is_public, public_address
from litelvlm.pipeline.fetch.policy import FetchError

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254",
    "2001:0:7f00:1::1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "fec0::1",
    "5f00::1",
    "3fff::1",
    "64:ff9b:1::7f00:1",
    "2001:db8::5efe:10.0.0.1",
    "2606:4700::5efe:127.0.0.1",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "nonsense",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: Any) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "localhost", "127.0.0.1"]
)
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    with pytest.raises(FetchError, match=r"not public|has no address"):
        public_address(host, 80, may_be_private=False)


def test_one_private_address_among_public_ones_is_refused() -> None:
    answers = [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    with pytest.raises(FetchError, match=r"refused: mixed\.example"):
        public_address("mixed.example", 80, may_be_private=False, resolver=lambda *_, **__: answers)
    found = public_address("mixed.example", 80, may_be_private=True, resolver=lambda *_, **__: answers)
    assert found == ["8.8.8.8", "10.0.0.1"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_bare_as_wrapped(address: ipaddress.IPv4Address) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") == public
    assert is_public(f"64:ff9b::{address}") == public
    assert is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80)))) == public  # 6to4
    assert not public or address.is_global  # never more than the standard library calls global


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_a_name_that_cannot_be_looked_up_is_an_unknown_host(error: Exception) -> None:
    def fail(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise error

    resolvers: tuple[Any, ...] = (fail, lambda *_, **__: [])
    for resolver in resolvers:
        with pytest.raises(FetchError, match=r"unknown_host: gone\.example has no address"):
            public_address("gone.example", 443, may_be_private=False, resolver=resolver)


def test_addresses_come_once_in_the_resolvers_order() -> None:
    answers = [(2, 1, 6, "", (address, 443)) for address in ("8.8.8.8", "1.1.1.1", "8.8.8.8")]
    found = public_address("h.example", 443, may_be_private=False, resolver=lambda *_, **__: answers)
    assert found == ["8.8.8.8", "1.1.1.1"]


def test_a_refusal_names_the_way_out() -> None:
    answers = [(2, 1, 6, "", ("127.0.0.1", 443))]
    with pytest.raises(FetchError, match="allow the host with --allow-prefix"):
        public_address("h.example", 443, may_be_private=False, resolver=lambda *_, **__: answers)
