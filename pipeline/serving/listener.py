"""HTTP straight into an application: uvicorn in the event loop of the process that has it, no proxy in between."""

from __future__ import annotations

import asyncio
import socket
import ssl

import uvicorn

from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.http_guard import App

KEEP_ALIVE_S = 75
_BACKLOG = 2048
_CLOSE_S = 3  # that answers may still take on their way out


class Listener:
    """Serves an application at the configured address until it is closed.

    Args:
        app: what answers.
        config: address, port, certificate and key, and whose certificates clients have to show.

    Raises:
        ValueError: the port is taken, or there is no such host.
        OSError: the certificate or key cannot be read.
    """

    def __init__(self, app: App, config: ServeConfig) -> None:
        settings = uvicorn.Config(
            app,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_S,
            ssl_certfile=config.tls_certificate,
            ssl_keyfile=config.tls_key,
            ssl_ca_certs=config.tls_client_ca,
            ssl_cert_reqs=ssl.CERT_NONE if config.tls_client_ca is None else ssl.CERT_REQUIRED,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
        )
        settings.load()
        self._socket = open_socket(config.host, config.port)
        self._server = uvicorn.Server(settings)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    def check(self) -> None:
        """Raises RuntimeError where nobody listens, though it was not closed."""
        if not self._server.should_exit and (self._task is None or self._task.done()):
            raise RuntimeError("nobody listens")

    async def close(self) -> None:
        """Take no more connections and wait until what was answered is sent."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def check_tls(config: ServeConfig) -> None:
    """Raises ValueError naming the file where a certificate or key is none, or the two are not of each other."""
    if config.tls_certificate is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    flag = f"--tls-certificate {config.tls_certificate} --tls-key {config.tls_key}"
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
        if config.tls_client_ca is not None:
            flag = f"--tls-client-ca {config.tls_client_ca}"
            context.load_verify_locations(config.tls_client_ca)
    except OSError as error:
        raise ValueError(f"{flag}: {getattr(error, 'strerror', None) or error}") from None


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ValueError naming the address where it cannot be had."""
    try:
        choices = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = min(choices, key=lambda one: one[0] != socket.AF_INET)
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
            found.listen(_BACKLOG)
        except OSError:
            found.close()
            raise
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}") from error
    return found
