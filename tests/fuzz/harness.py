"""A whole run without Ray and without weights: a Parquet file in; records, COCO files and errors out.

Everything that touches the input is the real thing: plan, reader, decoder, the model's preprocessor and tokeniser,
records, commit and merge. Only the masks are made up.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.config import InputConfig, ModelConfig, RunConfig
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.masks import run_lengths
from litelvlm.pipeline.output.merge import merge_shards
from litelvlm.pipeline.schemas import ANNOTATIONS_DIR, ERRORS_NAME, RECORD_SCHEMA, RECORDS_DIR, STATUSES
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.shards.markers import ShardMarker
from litelvlm.pipeline.shards.payload import ShardTask, pack, unpack
from litelvlm.pipeline.stages.annotate import AnnotateStage
from litelvlm.pipeline.stages.commit import commit_shard
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.engine import Annotated, LiteLVLMEngine
from litelvlm.pipeline.stages.failures import Failure
from litelvlm.pipeline.storage.store import Storage
from litelvlm.preprocess import PreparedImage
from tests.fakes import FakeAnnotator

_PREPROCESSING = LiteLVLMEngine(model=ModelConfig(model="demo"))


@dataclass(frozen=True)
class MaskResult:
    """As `litelvlm.AnnotationResult`, with masks that depend on the phrase and the size alone."""

    size_hw: tuple[int, int]
    phrases: list[str]
    num_visual_tokens: int = 64
    num_retained_tokens: int = 21
    num_text_tokens: int = 7
    seg_probability: None = None
    absent_probability: None = None
    absent: None = None
    clip_similarity: None = None

    @property
    def num_prompts(self) -> int:
        return len(self.phrases)

    @property
    def scores(self) -> np.ndarray:
        return np.array([hashlib.sha256(phrase.encode()).digest()[0] / 255 for phrase in self.phrases], np.float32)

    @property
    def run_lengths(self) -> list[np.ndarray]:
        return [run_lengths(mask_of(self.size_hw, phrase)) for phrase in self.phrases]


def mask_of(size_hw: tuple[int, int], phrase: str) -> np.ndarray:
    """The (H, W) mask of a phrase; empty for some."""
    height, width = size_hw
    first, last = sorted(hashlib.sha256(phrase.encode()).digest()[:2])
    mask = np.zeros(size_hw, dtype=bool)
    mask[first * height // 256 : last * height // 256, : width // 2 + 1] = True
    return mask


@dataclass(frozen=True)
class MaskEngine:
    """The real model up to its input, `MaskResult` from there on."""

    def annotator(self, num_threads: int | None) -> FakeAnnotator:
        return FakeAnnotator()

    def preprocessor(self) -> Any:
        return _PREPROCESSING.preprocessor()

    def check_phrase(self, preprocessor: Any, phrase: str) -> str:
        return _PREPROCESSING.check_phrase(preprocessor, phrase)

    def needed_tflop(self, done: Annotated) -> None:
        return None

    def annotate(
        self, annotator: FakeAnnotator, images: list[PreparedImage], phrases: list[list[str]], **_: object
    ) -> list[MaskResult]:
        return [MaskResult(image.original_size_hw, asked) for image, asked in zip(images, phrases, strict=True)]


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    records: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    coco: list[dict[str, Any]]
    num_rows: int

    def of_row(self, row: int) -> list[dict[str, Any]]:
        """Records of one input row."""
        return [record for record in self.records if record["source_row"] == row]


def run_table(table: pa.Table, directory: Path, **source: Any) -> Outcome:
    """Write a table as Parquet and annotate it."""
    path = directory / "input.parquet"
    pq.write_table(table, path)
    return run_file(path, directory, **source)


def run_file(path: Path, directory: Path, *, max_pixels: int = 4_000_000, **source: Any) -> Outcome:
    """Annotate a Parquet file. Raises ValueError where the run refuses it as a whole, AssertionError where a stage
    breaks."""
    source_config = InputConfig(input=(str(path),), max_pixels=max_pixels, **source)
    config = RunConfig(output=str(directory / "output"), source=source_config)
    plan = make_plan(config, revision="none")
    storage, engine = Storage(config.output), MaskEngine()
    decode = DecodeStage(
        mapping=plan.mapping, engine=engine, policy=uri_policy(config), storage=storage, session="s",
        marker=ShardMarker, max_pixels=max_pixels,
    )  # fmt: skip
    annotate = AnnotateStage(engine, storage, "s", None)
    for shard in plan.shards:
        batch = annotate(decode(pack(ShardTask(shard=shard))))
        result = unpack(batch)
        assert not isinstance(result, Failure), result.details
        commit_shard(storage, result)
    totals = merge_shards(storage, plan.shards, sample=None, gpus_per_actor=1.0, gpu_price=None)
    outcome = _read(Path(storage.root), plan.num_rows)
    assert totals.records == len(outcome.records)
    return outcome


def _read(output: Path, num_rows: int) -> Outcome:
    parts = [pq.read_table(path) for path in sorted((output / RECORDS_DIR).iterdir())]
    assert all(part.schema.equals(RECORD_SCHEMA) for part in parts)
    coco = [json.loads(path.read_bytes()) for path in sorted((output / ANNOTATIONS_DIR).iterdir())]
    errors = pq.read_table(output / ERRORS_NAME).to_pylist()
    return Outcome(pa.concat_tables(parts).to_pylist(), errors, coco, num_rows)


def check_outcome(outcome: Outcome) -> None:
    """What holds for every run, whatever it was fed: a record for every row, reasons that people can read, and COCO
    files that agree with the records."""
    assert {record["source_row"] for record in outcome.records} == set(range(outcome.num_rows))
    for record in outcome.records:
        assert record["status"] in STATUSES
        assert record["image_id"]
        assert (record["status"] == "failed") == (record["error"] is not None)
        assert (record["status"] == "ok") == (record["mask_rle"] is not None)
        if record["error"] is not None:
            assert record["error"].isprintable()
            assert 0 < len(record["error"]) <= 500
            assert len(record["phrase"]) <= 200
    assert len(outcome.errors) == sum(record["status"] == "failed" for record in outcome.records)
    _check_coco(outcome)


def _check_coco(outcome: Outcome) -> None:
    images = [image for part in outcome.coco for image in part["images"]]
    annotations = [annotation for part in outcome.coco for annotation in part["annotations"]]
    assert [image["id"] for image in images] == list(range(1, len(images) + 1))
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    assert len(annotations) == sum(record["status"] == "ok" for record in outcome.records)
    names = [image["file_name"] for image in images]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert not name.startswith("/")
        assert not {"..", ".", ""} & set(name.split("/"))
        assert "\\" not in name
