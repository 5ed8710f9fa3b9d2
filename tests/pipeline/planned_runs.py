"""Throughput tables with known coefficients, and the run directories that hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.config import InputConfig, ModelConfig, RunConfig
from litelvlm.pipeline.measure.run_summary import RunSummary
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA

#: A price table of its own, so that tests do not change with the world's prices.
PRICES = """
currency: USD
sources:
  market: {url: "https://example.com/prices", date: 2026-11-01, what: prices of a made-up market}
gpus:
  h100: {devices: [h100 80gb hbm3], instance: one, gpus_per_instance: 1, vcpus: 16, on_demand: 6.88, sources: [market]}
  h200: {devices: [h200], instance: eight, gpus_per_instance: 8, vcpus: 192, on_demand: 64.0, sources: [market]}
  l40s: {devices: [l40s], instance: small, gpus_per_instance: 1, vcpus: 4, on_demand: 1.9, sources: [market]}
  cpu-2: {devices: [cpu], instance: two, gpus_per_instance: 1, vcpus: 2, on_demand: 0.1, sources: [market]}
"""
VISUAL_TOKENS = 576
TEXT_TOKENS = 60  # of every prompt
START_S = 20.0
WARM_UP_S = 3.0
#: Seconds of the made-up device.
PER_IMAGE = {"clip": 0.010, "sam": 0.120}
PER_PHRASE = {"prune": 0.001, "llm": 0.004, "decode_masks": 0.006}
PER_KILOTOKEN = 0.050
PER_MEGAPIXEL = 0.008  # on decoding cores
HOST_PER_IMAGE = 0.002


def row(
    number: int,
    *,
    images: int = 16,
    phrases: int = 48,
    tokens: int = 192,
    megapixels: float = 16.0,
    layout: str = "separate",
    noise: Callable[[], float] = lambda: 1.0,
    **changes: Any,
) -> dict[str, Any]:
    """A shard's row; the first one of an actor has its start and warms up."""
    pruned = tokens < VISUAL_TOKENS
    prompts = phrases if layout == "separate" else images
    retained, text = prompts * tokens, phrases * TEXT_TOKENS
    seconds = {stage: value * images * noise() for stage, value in PER_IMAGE.items()}
    seconds |= {stage: value * phrases * noise() for stage, value in PER_PHRASE.items()}
    seconds["llm"] += (retained + text) / 1000 * PER_KILOTOKEN * noise()
    if not pruned:
        seconds["prune"] = 0.0
    first = number == 0
    seconds["other"] = WARM_UP_S if first else 0.0
    annotate_s = sum(seconds.values())
    host_s = HOST_PER_IMAGE * images
    values: dict[str, Any] = dict.fromkeys(THROUGHPUT_SCHEMA.names)
    values |= {f"{stage}_s": value for stage, value in seconds.items()}
    values |= {
        "shard_id": f"shard-{number:04d}",
        "index": number,
        "rows": images,
        "images": images,
        "prompts": prompts,
        "phrases": phrases,
        "ok": phrases - 1,
        "empty": 1,
        "failed": 0,
        "megapixels": megapixels,
        "masks_s": 0.0,
        "read_s": 0.1,
        "fetch_s": 0.0,
        "decode_s": 0.1,
        "decode_cpu_s": PER_MEGAPIXEL * megapixels,
        "startup_s": START_S if first else 0.0,
        "idle_s": 0.0,
        "host_s": host_s,
        "annotate_s": annotate_s,
        "held_s": annotate_s + host_s + (START_S if first else 0.0),
        "actor_from": 1000.0 + number,
        "actor_to": 1001.0 + number,
        "visual_tokens": prompts * VISUAL_TOKENS,
        "retained_tokens": retained,
        "text_tokens": text,
        "bytes_read": images * 500_000,
        "bytes_written": images * 2_000,
        "device": "NVIDIA H100 80GB HBM3",
        "actor": "node:1",
        "finished_at": 1001.0 + number,
    }
    return values | changes


def rows(count: int = 12, **given: Any) -> list[dict[str, Any]]:
    """Shards of 40 to 62 phrases and 14 to 18 megapixels, in turns."""
    return [
        row(number, phrases=40 + 2 * (number * 5 % 12), megapixels=14.0 + number * 7 % 5, **given)
        for number in range(count)
    ]


def summary(*, rule: str = "paper", layout: str = "separate", **changes: Any) -> RunSummary:
    """What `run.json` says of a finished run."""
    config = RunConfig(
        output="out",
        source=InputConfig(input=("in.parquet",), shard_images=16),
        model=ModelConfig(model="demo", rule=rule, layout=layout),
    )
    made = RunSummary(
        state="done", exit_code=0, fingerprint="f", model_revision="abc", columns="", config=config, device="cpu",
        resumed_rows=0, executions=1, session={}, started_at="1970-01-01T00:16:00Z",  # 960 s
        ended_at="1970-01-01T00:17:30Z",  # 1050 s
        versions={}, counts={},
    )  # fmt: skip
    return replace(made, **changes)


def write_run(root: Path, table: list[dict[str, Any]], **about: Any) -> str:
    """A run directory with the two files that a planner reads. Returns its path."""
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, schema=THROUGHPUT_SCHEMA), root / "throughput.parquet")
    (root / "run.json").write_bytes(summary(**about).to_json())
    return str(root)


def compared(table: list[dict[str, Any]], *, iou: float) -> list[dict[str, Any]]:
    """The same shards, each with a comparison of two images."""
    extra = {
        "baseline_phrases": 6,
        "baseline_mean_iou": iou,
    }
    return [values | extra for values in table]


def noisy(share: float, seed: int = 0) -> Callable[[], float]:
    """Factors around 1."""
    rng = np.random.default_rng(seed)
    return lambda: float(1 + share * rng.standard_normal())
