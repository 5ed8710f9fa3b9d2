"""Outputs of runs for the tests of reports: the pipeline's own stages, called one after the other, with no Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.output.finalize import merge_run, seal_run
from litelvlm.pipeline.report.shards import ShardTable
from litelvlm.pipeline.schemas import RUN_NAME, STATUS_FAILED, THROUGHPUT_SCHEMA
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.claim import claim_output
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.shards.markers import ShardMarker
from litelvlm.pipeline.shards.payload import ShardTask
from litelvlm.pipeline.stages.annotate import AnnotateStage
from litelvlm.pipeline.stages.baseline import choose_rows
from litelvlm.pipeline.stages.commit import commit_shard
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.summary import Summariser
from tests.fakes import FakeAnnotator, FakeEngine, FakeResult
from tests.pipeline.samples import run_config, write_table

#: What a hostile table may hold in a phrase or an id.
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</style><style>*{display:none}</style>",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; &amp;amp;",
    "\u202egnp.exe\u202c \x00\x1b[31m null",
    "http://169.254.169.254/latest?token=hunter2secret",
    "w" * 300,
)


@dataclass(frozen=True, kw_only=True)
class DisagreeingEngine(FakeEngine):
    """Unpruned, it marks another colour channel."""

    def annotate(
        self, annotator: FakeAnnotator, images: list[np.ndarray], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[FakeResult]:
        seen = [np.roll(image, 1, axis=-1) for image in images] if unpruned else images
        return super().annotate(annotator, seen, phrases, unpruned=unpruned)


def make_output(
    root: Path,
    rows: list[dict[str, Any]],
    *,
    engine: FakeEngine | None = None,
    shards: int | None = None,
    finish: bool = True,
    **settings: Any,
) -> tuple[Storage, RunConfig]:
    """Annotate a table into `root / "out"`, the first `shards` shards of it, and end the run if `finish`."""
    engine = engine or FakeEngine()
    config = run_config(write_table(root / "in.parquet", rows), root / "out", **settings)
    storage = Storage(config.output)
    plan = make_plan(config, revision=engine.revision())
    claim_output(storage, plan, config)
    decode = DecodeStage(
        mapping=plan.mapping, engine=engine, policy=uri_policy(config), storage=storage, session="s",
        marker=ShardMarker, ontology=config.source.ontology,
    )  # fmt: skip
    actor = AnnotateStage(engine, storage, "s", None, ontology=config.source.ontology)
    compared = choose_rows(plan.shards, config.baseline_images, None) if config.baseline_images else {}
    for shard in plan.shards[:shards]:
        chosen = frozenset(compared.get(shard.shard_id, ()))
        task = ShardTask(shard=shard, compared_rows=chosen, truth_rows=chosen)
        guard = Guard(storage=storage, session="s", stage="decode", shard_id=shard.shard_id, prior_kills=0)
        commit_shard(storage, actor.process(decode.decode_shard(task, guard)))
    if finish:
        totals = merge_run(storage, plan, config)
        exceeded = totals.statuses[STATUS_FAILED] > config.max_failure_rate * totals.records
        summary = Summariser(config=config, plan=plan).finished(totals, exceeded=exceeded, storage=storage)
        storage.write_bytes(RUN_NAME, summary.to_json())
        seal_run(storage, plan, totals)
    return storage, config


def shard_table(num_shards: int, **columns: Any) -> ShardTable:
    """A table of alike shards that four actors worked off, 10 s each; `columns` replace what it holds."""
    number = np.arange(num_shards)
    start = 1.8e9 + 10.0 * (number // 4)
    stages = {"clip_s": 1.0, "prune_s": 0.2, "llm_s": 3.0, "sam_s": 2.0, "decode_masks_s": 1.0, "masks_s": 0.5}
    values: dict[str, Any] = {
        "shard_id": [f"{at:07d}-abc" for at in number],
        "index": number,
        "rows": 64,
        "images": 64,
        "phrases": 200,
        "ok": 190,
        "empty": 8,
        "failed": 2,
        "megapixels": 64.0,
        "startup_s": 0.0,
        "idle_s": 0.5,
        "host_s": 0.5,
        "annotate_s": 9.0,
        **stages,
        "other_s": 9.0 - sum(stages.values()),
        "baseline_s": 0.0,
        "held_s": 10.0,
        "gpu_s": 10.0,
        "actor_from": start,
        "actor_to": start + 10.0,
        "finished_at": start + 10.0,
        "visual_tokens": 115_200,
        "retained_tokens": 38_400,
        "node": [f"node-{at % 4}" for at in number],
        "device": "NVIDIA H100",
        "actor": [f"node-{at % 4}:{100 + at % 4}" for at in number],
        "attempts": 1,
    } | columns
    arrays = []
    for column in THROUGHPUT_SCHEMA:
        value = values.get(column.name)
        if value is None or isinstance(value, str | int | float):
            arrays.append(pa.array([value] * num_shards, type=column.type))
        else:
            arrays.append(pa.array(value, type=column.type))
    return ShardTable(
        pa.Table.from_arrays(arrays, schema=pa.schema([f.with_nullable(True) for f in THROUGHPUT_SCHEMA]))
    )
