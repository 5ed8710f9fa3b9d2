"""Input tables for the pipeline's tests, and what a run over them must say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.shards.markers import Baseline, DataFile, ShardFacts, ShardMarker


def picture(seed: int, *, height: int = 24, width: int = 32) -> np.ndarray:
    """An (H, W, 3) uint8 image with a bright rectangle in every channel."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
    for channel in range(3):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        rgb[top : top + 6, left : left + 7, channel] = 220
    return rgb


def png(rgb: np.ndarray) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, *phrases: str, **changes: Any) -> dict[str, Any]:
    """An input row: image `number` and its phrases."""
    given = {
        "image_id": f"image-{number:04d}",
        "image": png(picture(number)),
        "phrases": list(phrases) or ["the red box"],
    }
    return given | changes


def mixed_rows(count: int) -> list[dict[str, Any]]:
    """Rows of 1 to 3 phrases, with broken images, empty answers and bad phrases among them."""
    rows = [row(number, *("the red box", "a dog", "blue thing")[: 1 + number % 3]) for number in range(count)]
    for number in range(3, count, 29):
        rows[number]["image"] = b"<html>not found</html>"
    for number in range(5, count, 31):
        rows[number]["phrases"] = ["nothing at all"]
    for number in range(7, count, 37):
        rows[number]["phrases"] = ["", "the red box"]
    return rows


def write_table(path: Path, rows: list[dict[str, Any]], *, row_group_size: int = 20) -> str:
    """Write rows as Parquet. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return str(path)


def run_config(source: str | list[str], output: str | Path, **settings: Any) -> RunConfig:
    """A configuration for the fake model; every setting by its flat name."""
    inputs = (source,) if isinstance(source, str) else tuple(source)
    defaults = {"shard_images": 8, "max_failure_rate": 1.0, "num_retain_tokens": 21}
    return RunConfig.from_flat(defaults | {"input": inputs, "output": str(output)} | settings)


def read_records(output: str | Path) -> list[dict[str, Any]]:
    """All records of a finished run, in order."""
    parts = sorted(Path(output, "records").glob("part-*.parquet"))
    return [record for part in parts for record in pq.read_table(part).to_pylist()]


def read_coco(output: str | Path) -> dict[str, Any]:
    """The first COCO part of a finished run."""
    return json.loads(Path(output, "annotations/part-00000.json").read_bytes())


def final_bytes(output: str | Path) -> dict[str, bytes]:
    """Every file of a finished run that must not depend on how it came about, by name."""
    root = Path(output)
    names = sorted(
        [*root.glob("records/*"), *root.glob("annotations/*"), root / "errors.parquet", root / "manifest.parquet"]
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in names}


def shard_marker(
    *,
    shard_id: str = "s",
    seconds: dict[str, float] | None = None,
    baseline: Baseline | None = None,
    device: str = "cpu",
    tflop: float | None = None,
) -> ShardMarker:
    """The marker of a shard with one record."""
    facts = ShardFacts(
        images=1, prompts=1, megapixels=1.0, visual_tokens=4, retained_tokens=2, text_tokens=3, tflop=tflop,
        unpruned_tflop=tflop, bytes_read=5, node="n", device=device, actor="n:1", attempts=1, actor_from=1.0,
        actor_to=2.0,
    )  # fmt: skip
    return ShardMarker(
        shard_id=shard_id, index=0, rows=1, records=1, ok=1, empty=0, failed=0, dropped=0, reasons={},
        image_keys=[("k", "f")], seconds=seconds or {}, facts=facts, baseline=baseline,
        data=DataFile(name=f"shards/{shard_id}.parquet", sha256="", num_bytes=10),
    )  # fmt: skip
