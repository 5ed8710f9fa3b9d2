"""Tables with true masks for the tests of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.evaluation.config import EvaluationConfig, SweepConfig
from litelvlm.evaluation.markers import AnswersMarker, SweepFacts
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.records import TRUTH_SCHEMA
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.shards.markers import DataFile
from tests.fakes import true_mask
from tests.pipeline.samples import picture, png, run_config

PHRASES = ("the red box", "a dog", "blue thing", "something with quite a few words in it")


def truth_row(number: int, *phrases: str, **changes: Any) -> dict[str, Any]:
    """A row of `TRUTH_SCHEMA` whose truth the fake model knows."""
    rgb = picture(number)
    asked = list(phrases) or list(PHRASES[: 1 + number % len(PHRASES)])
    row = {
        "image_id": f"image-{number:03}",
        "image": {"bytes": png(rgb), "path": None},
        "phrases": asked,
        "masks": [encode_mask(true_mask(rgb, phrase)).as_coco() for phrase in asked],
        "sentence_ids": [f"{number}/{index}" for index in range(len(asked))],
        "kinds": ["box" if "box" in phrase else "thing" for phrase in asked],
        "split": "val",
    }
    return row | changes


def write_rows(path: Path, rows: list[dict[str, Any]], *, row_group_size: int = 8) -> str:
    """Write rows. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA), path, row_group_size=row_group_size)
    return str(path)


def evaluation_config(
    source: str, output: Path, *, protocol: str = "every", run: dict[str, Any] | None = None, **sweep: Any
) -> EvaluationConfig:
    """A small sweep with the fake model. `run` are settings of the run, the others of the sweep."""
    settings: dict[str, Any] = {
        "rules": ("none", "low_similarity", "random"),
        "budgets": (8, 4),
        "seeds": (0, 1),
        "example_images": 2,
    }
    return EvaluationConfig(
        run=run_config(source, output, **{"mask_column": "masks", "num_cpus": 4} | (run or {})),
        sweep=SweepConfig(**settings | {"example_images": 2} | sweep),
        protocol=Protocol(name=protocol),
        dataset="drawn",
        bootstrap_samples=50,
    )


def answers_marker(*conversations: str, device: str = "cpu") -> AnswersMarker:
    """The marker of an evaluated shard, of two combinations."""
    facts = SweepFacts(
        encode_s=1.0, answer_s=[2.0, 3.0], llm_s=[0.5, 1.0], images=2, prompts=3, text_tokens=30, node="n",
        device=device,
    )  # fmt: skip
    data = DataFile(name="shards/s.parquet", sha256="", num_bytes=1)
    return AnswersMarker(
        shard_id="s", index=0, rows=1, failed=0, data=data, answers=2, facts=facts, conversations=list(conversations)
    )
