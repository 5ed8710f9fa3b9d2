"""A service on this machine or on a cluster, from its start to its drained end."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from litelvlm.pipeline.cluster import choose_device, is_elsewhere, ray_session
from litelvlm.pipeline.config import ClusterConfig, InputConfig, RunConfig
from litelvlm.pipeline.errors import MISTAKES, Interrupted, RunError, UsageError
from litelvlm.pipeline.serving.access import read_token
from litelvlm.pipeline.serving.assembly import assemble
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.deployment import APP_NAME, application, check_proxied
from litelvlm.pipeline.serving.listener import KEEP_ALIVE_S, check_tls, open_socket
from litelvlm.pipeline.serving.log_lines import log_lines
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.questions import Question, Reply, Unanswered
from litelvlm.pipeline.stages.engine import LiteLVLMEngine

Say = Callable[[str], None]
_DRAIN_MARGIN_S = 5.0


def serve_forever(config: ServeConfig, say: Say, stop: threading.Event | None = None) -> None:
    """Serve until a signal or `stop`; then drain.

    Raises:
        UsageError: a setting, the checkpoint, a run or the port does not fit.
        RunError: the service did not come up.
        Interrupted: by a signal, once all is ended.
    """
    check(config, say)
    cluster = ClusterConfig(ray_address=config.ray_address)
    started = time.monotonic()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray lets its workers give way to all else; here people wait
    ends_with_us = not ray.is_initialized() and not is_elsewhere(cluster)
    with ray_session(cluster), log_lines(_log) as log, _service(config, cluster, log, ends_with_us=ends_with_us):
        scheme = "https" if config.tls_key else "http"
        say(f"ready: {scheme}://{_host(config)}:{config.port}/ after {time.monotonic() - started:.1f} s")
        try:
            (stop or threading.Event()).wait()
        except Interrupted as signalled:
            signalled.told = True
            say(f"{signalled.word}: ending what runs")
            raise
        finally:
            _drain(config)


def check(config: ServeConfig, say: Say) -> None:
    """Look at all settings before anything starts, but not at the weights: replicas do, and that takes seconds.

    Raises:
        UsageError: naming what does not fit.
    """
    with _told():
        read_token(config)
        for remark in LiteLVLMEngine(model=config.model).check():
            say(f"note: {remark}")
        assemble(config, _Nobody(), ServiceMeters())
        check_tls(config)
        if is_elsewhere(ClusterConfig(ray_address=config.ray_address)):
            check_proxied(config)
        else:
            open_socket(config.host, config.port).close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except MISTAKES as error:
        raise UsageError(str(error)) from error


class _Nobody:
    """No replicas, to look at the rest of a service by itself."""

    async def ask(self, question: Question) -> Reply | Unanswered:
        raise AssertionError("nothing is asked while settings are looked at")

    async def is_ready(self) -> bool:
        return False


@contextlib.contextmanager
def _service(config: ServeConfig, cluster: ClusterConfig, log: str, *, ends_with_us: bool) -> Iterator[None]:
    """Serve's processes. `ends_with_us`: so does their Ray, and they with it."""
    for name in ("ray.serve", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    device = choose_device(RunConfig(source=InputConfig(input=("-",)), model=config.model, cluster=cluster, output="-"))
    listens = not is_elsewhere(cluster)
    try:
        serve.start(
            proxy_location="Disabled" if listens else "EveryNode",
            http_options=None if listens else _http_options(config),
            logging_config={"log_level": "ERROR", "enable_access_log": False},
        )
        route = None if listens else "/"
        serve.run(application(config, device, listens=listens, log=log), name=APP_NAME, route_prefix=route)
    except (RayError, RayServeException, RuntimeError, OSError) as error:
        if not ends_with_us:
            with contextlib.suppress(Exception):
                serve.delete(APP_NAME)
        with _told():
            LiteLVLMEngine(model=config.model).check_weights()
        raise RunError(f"the service did not start: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        if not ends_with_us:
            serve.delete(APP_NAME)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _http_options(config: ServeConfig) -> dict[str, Any]:
    """Of Serve's proxies."""
    options = {"host": config.host, "port": config.port, "keep_alive_timeout_s": KEEP_ALIVE_S}
    if config.tls_key is not None:
        options |= {"ssl_keyfile": config.tls_key, "ssl_certfile": config.tls_certificate or ""}
    return options


def _drain(config: ServeConfig) -> None:
    """Let the HTTP process end what runs."""
    with contextlib.suppress(RayError, RayServeException, TimeoutError):
        handle = serve.get_app_handle(APP_NAME)
        handle.drain.remote().result(timeout_s=config.limits.drain_seconds + _DRAIN_MARGIN_S)


def _host(config: ServeConfig) -> str:
    return f"[{config.host}]" if ":" in config.host else config.host
