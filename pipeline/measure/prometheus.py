"""Prometheus metrics of a run, through Ray: what a dashboard shows while the run goes on.

They are registered where they are counted: those of the driver from committed shards, those of the actors from what
their devices did. Ray exports them from every node, with the prefix `ray_` and its own tags (node, worker, session);
`run` tells runs on one cluster apart. Shards are never tags: their number grows with the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import metrics as ray_metrics

from litelvlm.pipeline.schemas import HELD_KINDS, MODEL_STAGES, STATUSES, TASK_STAGES
from litelvlm.pipeline.shards.markers import ShardFacts

_RUN_TAG_CHARS = 8


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A counter, which only grows, or a gauge. `tag` is its own tag besides `run`."""

    name: str
    description: str
    tag: str | None = None
    gauge: bool = False


DRIVER_METRICS = (
    Metric(name="litelvlm_records_total", description="Records committed in this session", tag="status"),
    Metric(name="litelvlm_images_total", description="Images of committed shards that went through the model"),
    Metric(name="litelvlm_shards_total", description="Shards committed in this session"),
    Metric(name="litelvlm_shards_left", description="Queue: shards of the run without a marker", gauge=True),
    Metric(name="litelvlm_retries_total", description="Attempts at committed shards beyond the first of each"),
    Metric(name="litelvlm_gpu_seconds_total", description="GPU seconds held for committed shards"),
    Metric(name="litelvlm_cost", description="Cost of this session so far, in the currency of --gpu-price", gauge=True),
    Metric(name="litelvlm_eta_seconds", description="Seconds left at this session's rate", gauge=True),
    Metric(name="litelvlm_task_seconds_total", description="Wall seconds of CPU tasks and of commits", tag="stage"),
    Metric(name="litelvlm_bytes_total", description="Bytes of images read, and of data files written", tag="direction"),
)

ACTOR_METRICS = (
    Metric(name="litelvlm_device_seconds_total", description="What the seconds of devices went to", tag="kind"),
    Metric(name="litelvlm_stage_seconds_total", description="Seconds of the model's stages", tag="stage"),
    Metric(name="litelvlm_visual_tokens_total", description="Visual tokens, in and kept", tag="state"),
    Metric(name="litelvlm_text_tokens_total", description="Text tokens of prompts"),
    Metric(name="litelvlm_tflop_total", description="Needed floating-point operations, 1e12, modelled"),
)


def run_tag(fingerprint: str) -> str:
    """The value of the tag `run`."""
    return fingerprint[:_RUN_TAG_CHARS]


class Meters:
    """The metrics of one process. Where Ray does not run, as in a stage's own tests, nothing is counted.

    Args:
        metrics: which ones this process counts.
        run: the value of the tag `run`.
    """

    def __init__(self, metrics: Sequence[Metric], run: str) -> None:
        self._run = {"run": run}
        self._meters = {metric.name: _register(metric) for metric in metrics} if ray.is_initialized() else {}
        self._cost: float | None = None

    def began(self, *, num_shards_left: int) -> None:
        """The session begins."""
        self._set("litelvlm_shards_left", num_shards_left)

    def committed(self, row: dict[str, Any], *, num_shards_left: int, eta_s: float | None) -> None:
        """A shard was committed. `row` is its row of the throughput table."""
        for status in STATUSES:
            self._add("litelvlm_records_total", row[status], status=status)
        self._add("litelvlm_images_total", row["images"])
        self._add("litelvlm_shards_total", 1)
        self._set("litelvlm_shards_left", num_shards_left)
        self._add("litelvlm_retries_total", (row["attempts"] or 1) - 1)
        self._add("litelvlm_gpu_seconds_total", row["gpu_s"])
        if row["cost"] is not None:
            self._cost = (self._cost or 0.0) + row["cost"]
            self._set("litelvlm_cost", self._cost)
        if eta_s is not None:
            self._set("litelvlm_eta_seconds", eta_s)
        for stage in (*TASK_STAGES, "wait", "encode", "commit"):
            self._add("litelvlm_task_seconds_total", row[f"{stage}_s"], stage=stage)
        for direction in ("read", "written"):
            self._add("litelvlm_bytes_total", row[f"bytes_{direction}"], direction=direction)

    def annotated(self, seconds: dict[str, float], facts: ShardFacts) -> None:
        """An actor has annotated a shard. Arguments are those parts of the shard's marker."""
        for kind in HELD_KINDS:
            self._add("litelvlm_device_seconds_total", seconds.get(kind), kind=kind)
        for stage in MODEL_STAGES:
            self._add("litelvlm_stage_seconds_total", seconds.get(stage), stage=stage)
        self._add("litelvlm_visual_tokens_total", facts.visual_tokens, state="in")
        self._add("litelvlm_visual_tokens_total", facts.retained_tokens, state="kept")
        self._add("litelvlm_text_tokens_total", facts.text_tokens)
        self._add("litelvlm_tflop_total", facts.tflop)

    def _add(self, name: str, value: float | None, **tags: str) -> None:
        if (meter := self._meters.get(name)) is not None and value and value > 0:
            meter.inc(value, self._run | tags)

    def _set(self, name: str, value: float) -> None:
        if (meter := self._meters.get(name)) is not None:
            meter.set(value, self._run)


def _register(metric: Metric) -> Any:
    kind = ray_metrics.Gauge if metric.gauge else ray_metrics.Counter
    tags = ("run",) if metric.tag is None else ("run", metric.tag)
    return kind(metric.name, description=metric.description, tag_keys=tags)
