"""Prometheus metrics of a service, each in a registry of its own: `GET /metrics` says what this process counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from litelvlm.pipeline.serving.questions import PhraseAnswer, Reply

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class ServiceMeters:
    """What is counted. No label holds anything that clients choose."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "litelvlm_serve"}
        self.requests = Counter(
            "requests", "Requests by route, status and code of error", ["route", "status", "code"], **own
        )
        self.seconds = Histogram("request_seconds", "From head to answer", ["route"], buckets=_SECONDS, **own)
        self.pending = Gauge("pending_requests", "Requests that wait or run", **own)
        self.phrases = Counter("phrases", "Phrases answered", ["status", "source"], **own)
        self.images = Counter("images", "Images asked about, by whether their embedding was held", ["cached"], **own)
        self.batches = Histogram(
            "batch_requests", "Requests that went through the model together", buckets=_SIZES, **own
        )
        self.retries = Counter("replica_retries", "Questions asked again because a replica was lost", **own)
        self.stages = Counter(
            "stage_seconds", "Seconds of replicas by stage, a batch's for each request", ["stage"], **own
        )
        self.cache_bytes = Gauge("cache_bytes", "Bytes of embeddings held", ["replica"], **own)
        self.cache_entries = Gauge("cache_entries", "Images whose embeddings are held", ["replica"], **own)
        self.corrections = Counter("corrections", "Reviewed items that webhooks brought", **own)

    def answered(self, phrases: Sequence[PhraseAnswer], *, cached: bool) -> None:
        """A request was answered."""
        self.images.labels(cached=str(cached).lower()).inc()
        for one in phrases:
            self.phrases.labels(status=one.status, source=one.source).inc()

    def batch(self, answer: Reply) -> None:
        """A replica answered."""
        self.batches.observe(answer.batch_images)
        for stage, seconds in answer.seconds.items():
            self.stages.labels(stage=stage).inc(seconds)
        if answer.cache is not None:
            self.cache_bytes.labels(replica=answer.replica).set(answer.cache.num_bytes)
            self.cache_entries.labels(replica=answer.replica).set(answer.cache.entries)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
