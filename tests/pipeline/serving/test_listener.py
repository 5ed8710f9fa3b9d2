"""Listening: an application answers at its address until it is closed, and a port that is taken is named."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.listener import Listener, check_tls, open_socket
from tests.pipeline.serving.certificates import Authority
from tests.pipeline.serving.doubles import free_port


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_answers_until_it_is_closed(host: str) -> None:
    port = free_port()

    async def run() -> str:
        listener = Listener(app, ServeConfig(host=host, port=port))
        with pytest.raises(RuntimeError):
            listener.check()
        listener.start()
        listener.check()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/some/path")
        await listener.close()
        return answer.text

    assert asyncio.run(run()) == "/some/path"
    open_socket("127.0.0.1", port).close()


async def asked(config: ServeConfig, *contexts: ssl.SSLContext) -> list[str]:
    """What clients are told, or the kind of the error that they get."""
    listener = Listener(app, config)
    listener.start()
    told = []
    for context in contexts:
        async with httpx.AsyncClient(trust_env=False, verify=context) as client:
            try:
                told.append((await client.get(f"https://127.0.0.1:{config.port}/path")).text)
            except httpx.TransportError as error:
                told.append(type(error).__name__)
    await listener.close()
    return told


@pytest.mark.slow
def test_clients_show_a_certificate_where_one_is_asked_for(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    chain, key = ours.issue("server")
    plain = ServeConfig(port=free_port(), tls_certificate=chain, tls_key=key)
    strict = replace(plain, port=free_port(), tls_client_ca=ours.path)
    without, good, foreign = ours.client(), ours.client(ours.issue("client")), ours.client(theirs.issue("client"))
    for config in (plain, strict):
        check_tls(config)
    assert asyncio.run(asked(plain, without, good)) == ["/path", "/path"]
    told = asyncio.run(asked(strict, without, good, foreign))
    assert told[1] == "/path"
    assert {told[0], told[2]} <= {"ReadError", "ConnectError", "RemoteProtocolError"}


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    chain, key = ours.issue("server")
    _, other = ours.issue("other")
    check_tls(ServeConfig())
    for settings, told in (
        ({"tls_certificate": chain, "tls_key": other}, "--tls-key"),
        ({"tls_certificate": chain, "tls_key": str(tmp_path / "none.pem")}, "No such file"),
        ({"tls_certificate": chain, "tls_key": key, "tls_client_ca": key}, "--tls-client-ca"),
    ):
        with pytest.raises(ValueError, match=told):
            check_tls(ServeConfig.from_flat(settings))


@pytest.mark.slow
def test_what_is_being_answered_is_sent_before_it_closes() -> None:
    port, asked = free_port(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await asyncio.sleep(0.2)
        await app(scope, receive, send)

    async def run() -> str:
        listener = Listener(slow, ServeConfig(port=port))
        listener.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/late"))
            await asked.wait()
            await listener.close()
            return (await answer).text

    assert asyncio.run(run()) == "/late"


def test_a_port_that_is_taken_is_named() -> None:
    with open_socket("127.0.0.1", free_port()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {port}"):
            Listener(app, ServeConfig(port=port))


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"--host 1.2.3.4.5"):
        open_socket("1.2.3.4.5", 8123)
