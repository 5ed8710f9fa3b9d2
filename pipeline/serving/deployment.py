"""Ray Serve: replicas that hold the model, one that speaks HTTP, and the application of both.

A question goes to the replica that holds its image: the key of an image stands for a session, and sessions are spread
by consistent hashing. Where a replica dies, its questions are asked again elsewhere; answers depend on nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from litelvlm.pipeline.cpus import num_usable
from litelvlm.pipeline.serving.access import Gate, read_token
from litelvlm.pipeline.serving.app import build_app
from litelvlm.pipeline.serving.assembly import assemble
from litelvlm.pipeline.serving.batcher import Batcher
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache
from litelvlm.pipeline.serving.http_guard import LOG, App
from litelvlm.pipeline.serving.listener import Listener
from litelvlm.pipeline.serving.log_lines import LineHandler
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.questions import Question, Reply, Unanswered
from litelvlm.pipeline.serving.served_model import AskedModel
from litelvlm.pipeline.serving.service import Unavailable
from litelvlm.pipeline.serving.worker import Worker
from litelvlm.pipeline.stages.engine import LiteLVLMEngine

APP_NAME = "litelvlm"
_QUIET = {"log_level": "WARNING", "enable_access_log": False}  # Serve's own lines; ours are without phrases and images
_ROUTER: Any = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_ROOM_FOR_REFUSALS = 1024  # requests beyond the queue that are told to come back, and those of probes
_RETRY_PAUSE_S = 0.2
_START_TRIES = 20
_LOOK_PERIOD_S = 1  # a process that has died is missed then
_READY_WAIT_S = 0.8
_LOST = (RayActorError, DeploymentUnavailableError, TaskCancelledError)


class ModelReplica:
    """Holds the model and answers questions in batches."""

    def __init__(self, config: ServeConfig, device: str) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="model")  # OpenMP has a pool for each thread
        worker = thread.submit(self._load, config, device).result()
        self._batcher = Batcher(worker.answer, thread, config.batch_requests)

    def _load(self, config: ServeConfig, device: str) -> Worker:
        engine = LiteLVLMEngine(model=config.model, device=device)
        annotator = engine.annotator(max(1, (num_usable() - 1) // config.num_replicas) if device == "cpu" else None)
        model = AskedModel(engine=engine, annotator=annotator)
        name = serve.get_replica_context().replica_id.unique_id
        return Worker(model, EmbeddingCache(config.cache_bytes), name)

    async def ask(self, question: Question) -> Reply | Unanswered:
        """An answer, in a batch with others'."""
        return await self._batcher.ask(question)

    async def is_ready(self) -> bool:
        """Once this is reached, the model is loaded."""
        return True


class ReplicaBackend:
    """Asks replicas through a handle; lost questions are asked again until nobody waits for them."""

    def __init__(self, handle: DeploymentHandle[Any], meters: ServiceMeters) -> None:
        self._handle, self._meters = handle, meters

    async def ask(self, question: Question) -> Reply | Unanswered:
        """Raises Unavailable where no replica can be reached in time."""
        handle = self._handle.options(session_id=question.image_key)
        while True:
            try:
                return await handle.ask.remote(question)
            except _LOST:
                if asyncio.current_task() is not None and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise asyncio.CancelledError from None
                self._meters.retries.inc()
                if time.time() + _RETRY_PAUSE_S > question.expires_at:
                    raise Unavailable from None
                await asyncio.sleep(_RETRY_PAUSE_S)
            except BackPressureError:
                raise Unavailable from None

    async def is_ready(self) -> bool:
        """Whether a replica answers at once."""
        try:
            async with asyncio.timeout(_READY_WAIT_S):
                return bool(await self._handle.is_ready.remote())
        except (TimeoutError, RayError, RayServeException):
            return False


class _Http:
    """What speaks HTTP. It holds no model."""

    def __init__(self, config: ServeConfig, handle: DeploymentHandle[Any]) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        LOG.setLevel(logging.INFO)
        meters = ServiceMeters()
        self._service, label_studio = assemble(config, ReplicaBackend(handle, meters), meters)
        self._drain_seconds = config.limits.drain_seconds
        self._app = build_app(self._service, Gate(read_token(config), any_host=not config.is_loopback), label_studio)

    async def drain(self) -> bool:
        """End what runs, take nothing new. Returns whether all ended in time."""
        return await self._service.drain(self._drain_seconds)


class HttpIngress(_Http):
    """Behind Serve's own proxies, one on each node of a cluster."""

    def __serve_build_asgi_app__(self) -> App:
        """What Serve hands requests to."""
        return self._app


class HttpListener(_Http):
    """Listens itself: where there is one node, a proxy would only add its time to every answer."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, config: ServeConfig, handle: DeploymentHandle[Any], log: str | None
    ) -> None:
        super().__init__(config, handle)
        if log is not None:
            LOG.addHandler(LineHandler(log))
        self._listener = Listener(self._app, config)
        self._listener.start()

    async def drain(self) -> bool:
        """The same, and the last answers are on their way when it returns."""
        ended = await super().drain()
        await self._listener.close()
        return ended

    def check_health(self) -> None:
        """Raises RuntimeError where nobody listens any more: Serve starts another one."""
        self._listener.check()


def check_proxied(config: ServeConfig) -> None:
    """Raises ValueError where something is asked that Serve's own proxies do not do."""
    if config.tls_client_ca is not None:
        raise ValueError(
            "--tls-client-ca: on a cluster Ray Serve's proxies listen, which look at no client's certificate"
        )


def application(config: ServeConfig, device: str, *, listens: bool = False, log: str | None = None) -> Application:
    """The replicas of a service and what speaks HTTP for them, for `serve.run`.

    Args:
        config: settings.
        device: `cpu` or `cuda`.
        listens: at the configured address by itself, and one failure to start is final. Else Serve's proxies listen,
            and it tries again.
        log: where it sends its log lines then, besides Serve's files.

    Raises:
        ValueError: Serve's proxies cannot do what a setting says.
    """
    if not listens:
        check_proxied(config)
    limits = config.limits
    on_gpu = device == "cuda"
    model: Any = serve.deployment(
        ModelReplica,
        name="model",
        num_replicas=config.num_replicas,
        max_ongoing_requests=max(limits.max_queue, config.batch_requests),
        ray_actor_options={"num_cpus": 1, "num_gpus": config.gpus_per_replica if on_gpu else 0},
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        graceful_shutdown_timeout_s=limits.drain_seconds,
        health_check_period_s=_LOOK_PERIOD_S,
        max_constructor_retry_count=1 if listens else _START_TRIES,
        logging_config=_QUIET,
    )
    http: Any = serve.deployment(
        HttpListener if listens else serve.ingress()(HttpIngress),
        name="http",
        max_constructor_retry_count=1 if listens else _START_TRIES,
        num_replicas=1,
        max_ongoing_requests=limits.max_queue + _ROOM_FOR_REFUSALS,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=_LOOK_PERIOD_S,
        graceful_shutdown_timeout_s=limits.drain_seconds,
        logging_config=_QUIET,
    )
    bound: Application = http.bind(config, model.bind(config, device), *((log,) if listens else ()))
    return bound


def build(arguments: dict[str, Any]) -> Application:
    """The application of a Serve config file, whose `args` are the settings by the flags' names.

    Raises:
        ValueError: a setting that does not fit, naming it.
    """
    config = ServeConfig.from_flat({"host": "0.0.0.0", **arguments})
    device = config.model.device
    return application(config, "cpu" if device == "auto" else device)
