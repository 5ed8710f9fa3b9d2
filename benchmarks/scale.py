"""What a run costs beside its model, as it grows: planning, feeding, resuming, merging, with synthetic shards.

    python -m benchmarks.scale                                  # 1,000 and 10,000 shards, about 6 minutes on 2 cores
    python -m benchmarks.scale --shards 1000 10000 100000       # about 20 minutes

Rows name images that are not there, and the model is a stand-in that answers at once, so that every second is the
pipeline's own. A shard has 64 images with three phrases each. Resuming and merging start from shards that are written
here as the pipeline writes them. Memory is the driver's resident set. A whole run against an S3 server on this machine
has its requests counted; its images are embedded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from benchmarks.hardware import describe
from litelvlm.pipeline.cluster import ray_session
from litelvlm.pipeline.config import ClusterConfig, InputConfig, RunConfig
from litelvlm.pipeline.output.merge import merge_shards
from litelvlm.pipeline.run import AnnotationRun
from litelvlm.pipeline.schemas import SHARD_SCHEMA
from litelvlm.pipeline.shards.claim import claim_output
from litelvlm.pipeline.shards.manifest import Shard, make_plan
from litelvlm.pipeline.shards.marker_log import MarkerLog
from litelvlm.pipeline.shards.markers import ShardFacts, ShardMarker, create_marker, write_data
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.faults.proxy import fault_proxy
from tests.object_store import object_store
from tests.pipeline.samples import png

RESULT = Path(__file__).parent / "results" / "scale.json"
IMAGES, PHRASES = 64, 3
FED, WARM = 160, 40  # shards that are executed of each size, and those of them before the clock is looked at
FILE_SHARDS = 1_000
MERGED = 2_000  # shards that are merged
STORED = 100  # shards of the run on a store
MASK = {"height": 480, "width": 640, "mask_rle": "PPYo1" + "0O1O001N2" * 30, "bbox_xywh": [10.0, 10.0, 50.0, 40.0]}

FACTS = ShardFacts(
    images=IMAGES, prompts=IMAGES * PHRASES, megapixels=20.0, visual_tokens=110_592, retained_tokens=36_864,
    text_tokens=11_520, tflop=None, unpruned_tflop=None, bytes_read=0, node="n", device="cpu", actor="n:1",
    attempts=1, actor_from=0.0, actor_to=1.0,
)  # fmt: skip


class Enough(Exception):
    """So many shards are committed."""


class FedRun(AnnotationRun):
    """A run that ends after some shards, and notes when each was committed."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, FakeEngine(), stream=io.StringIO())
        self.times: list[float] = []

    def committed(self, marker: ShardMarker) -> None:
        self.times.append(time.monotonic())
        if len(self.times) >= FED:
            raise Enough


def main() -> None:
    """Measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    content: dict[str, Any] = {"hardware": describe(), "images_per_shard": IMAGES, "phrases_per_image": PHRASES}
    content["sizes"] = [size(count) for count in options.shards]
    content["merge"] = [merge(workers) for workers in (1, 2)]
    content["store"] = on_a_store()
    options.result.write_text(json.dumps(content, indent=1) + "\n")
    print(options.result)


def size(num_shards: int) -> dict[str, Any]:
    """Planning, feeding and resuming a run of so many shards."""
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        config = config_of(Path(scratch), num_shards)
        with timed() as planning:
            plan = make_plan(config, revision="fake-1")
        row = {"shards": len(plan.shards), "plan": planning, "feed": feed(config)}
        storage = Storage(config.output)
        shards = [shard for shard in plan.shards if not storage.exists(f"_done/{shard.shard_id}.json")]
        with mock.patch("os.fsync"):  # of what is only to be read
            commit(storage, shards)
        run = FedRun(config)
        run.plan, run.storage = plan, storage
        with timed() as resuming:
            left = run._left()
        assert not left
        row["resume"] = resuming
        print(json.dumps(row), flush=True)
        return row


def feed(config: RunConfig) -> dict[str, float]:
    """Seconds from the start of an execution to its first commit, between later ones, and what the driver took."""
    run = FedRun(config)
    with ray_session(config.cluster):
        before, started = rss_mb(), time.monotonic()
        with contextlib.suppress(Enough):
            run.run()
        return {
            "first_commit_s": round(run.times[0] - started, 2),
            "s_per_shard": round((run.times[-1] - run.times[WARM]) / (FED - 1 - WARM), 4),
            "rss_mb": round(rss_mb() - before, 1),
        }


def merge(workers: int) -> dict[str, Any]:
    """Merging with so many workers."""
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        config = config_of(Path(scratch), MERGED)
        plan, storage = make_plan(config, revision="fake-1"), Storage(config.output)
        claim_output(storage, plan, config)
        with mock.patch("os.fsync"):
            commit(storage, list(plan.shards), masks=True)
        os.sync()  # or the first file that the merge syncs would wait for all of these
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            with timed() as merging:
                totals = merge_shards(storage, plan.shards, sample=None, gpus_per_actor=1.0, gpu_price=None)
        finally:
            ray.shutdown()
        row = {"workers": workers, "shards": MERGED, "records": totals.records} | merging
        row["records_per_s"] = round(totals.records / merging["seconds"])
        print(json.dumps(row), flush=True)
        return row


def on_a_store() -> dict[str, Any]:
    """A whole run against an S3 server on this machine: its requests, by kind, for each shard."""
    schema = pa.schema([("image", pa.binary()), ("phrases", pa.list_(pa.string()))])
    image, sink = png(np.zeros((8, 8, 3), np.uint8)), io.BytesIO()
    with object_store() as server, fault_proxy(server) as proxy:
        store = proxy.store
        store.make_bucket("scale")
        rows = [[image] * IMAGES * STORED, [["thing 1", "thing 2", "thing 3"]] * IMAGES * STORED]
        pq.write_table(pa.table(rows, schema=schema), sink, row_group_size=4 * IMAGES)
        store.filesystem().pipe_file("scale/in.parquet", sink.getvalue())
        config = RunConfig(
            source=InputConfig(input=("s3://scale/in.parquet",), shard_images=IMAGES),
            output="s3://scale/out",
            cluster=ClusterConfig(num_cpus=4),
            storage_options=store.options,
        )
        proxy.requests.clear()
        with ray_session(config.cluster), timed() as running:
            assert AnnotationRun(config, FakeEngine(), stream=io.StringIO()).run() == 0
        kinds: Counter[str] = Counter()
        for request, count in proxy.requests.items():
            kinds[request.split()[0]] += count
    row = {"shards": STORED, "requests_per_shard": {kind: n / STORED for kind, n in sorted(kinds.items())}} | running
    print(json.dumps(row), flush=True)
    return row


def config_of(scratch: Path, num_shards: int) -> RunConfig:
    """A run over a table of so many shards, a row group each, in files of `FILE_SHARDS`."""
    schema = pa.schema([("image", pa.string()), ("phrases", pa.list_(pa.string()))])
    asked = [[f"thing {number}" for number in range(PHRASES)]] * IMAGES
    (scratch / "in").mkdir()
    for first in range(0, num_shards, FILE_SHARDS):
        with pq.ParquetWriter(scratch / f"in/{first:07d}.parquet", schema) as writer:
            for shard in range(first, min(first + FILE_SHARDS, num_shards)):
                names = [f"{shard}/{image}.jpg" for image in range(IMAGES)]
                writer.write_table(pa.table([names, asked], schema=schema), row_group_size=IMAGES)
    source = InputConfig(input=(str(scratch / "in"),), image_root=str(scratch), shard_images=IMAGES)
    return RunConfig(
        source=source, output=str(scratch / "out"), cluster=ClusterConfig(num_cpus=4), max_failure_rate=1.0
    )


def commit(storage: Storage, shards: list[Shard], *, masks: bool = False) -> None:
    """Markers of shards as a run leaves them, and with `masks` the data files that they name."""
    log = MarkerLog(storage)
    data = write_data(storage, "all", [], SHARD_SCHEMA)
    for shard in shards:
        phrases = range(PHRASES if masks else 1)
        records = [record(shard, row, phrase) for row in range(shard.num_rows) for phrase in phrases]
        if masks:
            data = write_data(storage, shard.shard_id, records, SHARD_SCHEMA)
        marker = ShardMarker(
            shard_id=shard.shard_id, index=shard.index, rows=shard.num_rows, records=len(records), ok=len(records),
            empty=0, failed=0, dropped=0, data=data, reasons={}, facts=FACTS,
            seconds=dict.fromkeys(("read", "annotate"), 1.0),
            image_keys=[(one["image_key"], one["file_name"]) for one in records[:: len(phrases)]],
        )  # fmt: skip
        log.add(shard.shard_id, create_marker(storage, marker).to_json())
    log.flush()


def record(shard: Shard, row: int, phrase: int) -> dict[str, Any]:
    """A record with a mask."""
    number = shard.index * IMAGES + row
    values: dict[str, Any] = dict.fromkeys(SHARD_SCHEMA.names)
    return values | MASK | {
        "record": f"{number:016x}-{phrase}", "image_id": f"{number}",
        "image_key": f"{number:016x}", "file_name": f"{number // 1000}/{number}.jpg",
        "phrase_index": phrase, "phrase": f"thing {phrase}", "category_id": 1, "category": "object", "status": "ok",
        "area": 1_200, "score": 0.5,
        "num_visual_tokens": 576, "num_retained_tokens": 192, "source_file": shard.file,
        "source_row": shard.row_start + row,
    }  # fmt: skip


@contextlib.contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds and growth of the driver while it lasts."""
    found: dict[str, float] = {}
    before, started = rss_mb(), time.monotonic()
    yield found
    found["seconds"] = round(time.monotonic() - started, 2)
    found["rss_mb"] = round(rss_mb() - before, 1)


def rss_mb() -> float:
    """Resident memory of this process, 1e6 bytes."""
    return float(psutil.Process().memory_info().rss) / 1e6


if __name__ == "__main__":
    main()
