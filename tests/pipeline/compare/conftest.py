"""Two runs over nearly the same input, by models that answer some phrases alike, and records to compare by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.compare.answers import FIRST_COLUMNS
from litelvlm.pipeline.compare.comparison import Comparison
from litelvlm.pipeline.compare.config import CompareConfig
from litelvlm.pipeline.compare.run import compare_runs
from litelvlm.pipeline.masks import encode_mask, run_lengths
from litelvlm.pipeline.schemas import RECORD_SCHEMA
from tests.fakes import ABSENT_PHRASE, BAD_PHRASE, EMPTY_PHRASE, FakeEngine, FakeResult, true_mask
from tests.pipeline.report.report_runs import HOSTILE, make_output
from tests.pipeline.samples import picture, png, row

ALIKE, MOVED, UNSEEN = "the red box", "a dog", "blue thing"  # the same in both, moved in B, found in A only


@dataclass
class OtherResult(FakeResult):
    """What the second model answers."""

    @property
    def run_lengths(self) -> list[np.ndarray]:
        return [run_lengths(self._mask(phrase)) for phrase in self.phrases]

    def _mask(self, phrase: str) -> np.ndarray:
        mask = true_mask(self.rgb, phrase)
        return np.roll(mask, 2, axis=1) if phrase == MOVED else mask & (phrase != UNSEEN)


@dataclass(frozen=True, kw_only=True)
class OtherEngine(FakeEngine):
    """The second model."""

    def revision(self) -> str:
        return "fake-2"

    def annotate(
        self, annotator: Any, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]:
        return [OtherResult(image, group, 30) for image, group in zip(images, phrases, strict=True)]


def rows() -> list[dict[str, Any]]:
    """Twenty images of one to three phrases; one is broken, some are asked for nothing."""
    found = [row(number, *(ALIKE, MOVED, UNSEEN)[: 1 + number % 3]) for number in range(20)]
    found[3]["image"] = b"<html>"
    found[6]["phrases"] = [EMPTY_PHRASE, BAD_PHRASE]
    found[9]["phrases"] = [ABSENT_PHRASE]
    found[12]["phrases"] = [HOSTILE[0], HOSTILE[3]]
    return found


def other_rows() -> list[dict[str, Any]]:
    """The same but for what another input may differ in."""
    found = rows()[:18]
    found[0]["phrases"] = [ALIKE, "one more"]
    found[1]["phrases"] = ["another phrase", MOVED]
    found[2]["image"] = png(picture(2, height=30))
    found[4]["image"] = png(picture(104))
    return found


@pytest.fixture(scope="session")
def run_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a")
    make_output(root, rows(), gpu_price=3600.0)
    return root / "out"


@pytest.fixture(scope="session")
def run_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("b")
    make_output(root, other_rows(), engine=OtherEngine(), shard_images=5)
    return root / "out"


@pytest.fixture(scope="session")
def compared(run_a: Path, run_b: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path, list[str]]:
    """A comparison of the two, where it lies, and what it said."""
    output, lines = tmp_path_factory.mktemp("compared"), list[str]()
    return compare(run_a, run_b, output, say=lines.append), output, lines


def compare(a: Path, b: Path, output: Path, *, say: Callable[[str], None] = print, **settings: Any) -> Comparison:
    """Compare two runs."""
    return compare_runs(CompareConfig(a=str(a), b=str(b), output=str(output), **settings), say)


def records(*changes: dict[str, Any]) -> pa.Table:
    """Records with a mask, a row for each mapping of what they have otherwise; `mask` is an (H, W) array, and a box,
    an area and a size follow from it."""
    return pa.Table.from_pylist(
        [_record(number, **change) for number, change in enumerate(changes)],
        schema=pa.schema([RECORD_SCHEMA.field(name) for name in FIRST_COLUMNS]),
    )


def _record(number: int, mask: np.ndarray | None = None, **change: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "record": f"{number:016x}-0", "image_id": str(number), "file_name": f"{number}.png", "phrase_index": 0,
        "phrase": "a cat", "category": "cat", "status": "ok" if mask is not None else "empty",
        "source_file": "t.parquet", "source_row": number, "height": 200, "width": 200, "score": 0.5,
        "image_hash": "0" * 16,
    }  # fmt: skip
    if mask is not None:
        encoded = encode_mask(mask)
        found |= {"mask_rle": encoded.counts, "area": encoded.area, "bbox_xywh": list(encoded.bbox_xywh)}
    return found | change


def box(left: int, top: int, width: int, height: int) -> np.ndarray:
    """A (200, 200) mask."""
    mask = np.zeros((200, 200), bool)
    mask[top : top + height, left : left + width] = True
    return mask
