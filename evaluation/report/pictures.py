"""Where tokens were kept: the image as the language model saw it under each rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.config import PruningConfig
from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.merge import ANSWERS_NAME
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.report.pictures import Picture, SourceImage, SourceImages, draw_picture
from litelvlm.pipeline.storage.store import Storage

_DIM, _OUTSIDE = 0.22, 0.10  # brightness of patches that no budget kept, and of what CLIP does not see
_COLUMNS = ("combination", "source_file", "source_row", "phrase_index", "phrase", "image_id", "height", "width")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RulesExample:
    """One expression of an image, and a picture for each rule: what it kept, and its mask at the largest budget."""

    image_id: str
    phrase: str
    tiles: Sequence[tuple[str, Picture]]


def draw_examples(storage: Storage, config: EvaluationConfig, policy: UriPolicy) -> list[RulesExample]:
    """The first expression of every example image under every rule. An image that cannot be read becomes a note."""
    rows = _example_rows(storage)
    if not rows:
        return []
    combinations = config.sweep.combinations()
    images = SourceImages(storage, config.run, policy).load(dict.fromkeys(rows))
    return [_example(images[key], own, combinations) for key, own in rows.items()]


def heat(retained: Sequence[Sequence[int]], num_patches: int) -> NDArray[np.float64]:
    """How many of several budgets kept each patch, as a share; num_patches float64."""
    kept = np.zeros(num_patches)
    for tokens in retained:
        kept[list(tokens)] += 1
    return kept / max(len(retained), 1)


def light(rgb: NDArray[np.uint8], heat_V: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The (H, W, 3) image with every patch as bright as its heat; what CLIP's central square leaves out is darkest."""
    grid = round(len(heat_V) ** 0.5)
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    place = (np.arange(side) * grid) // side
    brightness = np.full((height, width, 1), _OUTSIDE)
    patches = heat_V.reshape(grid, grid)[np.ix_(place, place)]
    brightness[top : top + side, left : left + side, 0] = _DIM + (1 - _DIM) * patches
    return (rgb * brightness).astype(np.uint8)


def _example_rows(storage: Storage) -> dict[tuple[str, int], list[Row]]:
    """Answers to the first expression of each example image: file and row -> answers by combination."""
    with storage.open_read(ANSWERS_NAME) as stream:
        columns = [*_COLUMNS, "mask_rle", "retained", "num_visual_tokens"]
        found: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for batch in pq.ParquetFile(stream).iter_batches(columns=columns, use_threads=False):
            for row in batch.filter(batch.column("retained").is_valid()).to_pylist():
                found[row["source_file"], row["source_row"]].append(row)
    return {
        key: [row for row in own if row["phrase_index"] == min(each["phrase_index"] for each in own)]
        for key, own in sorted(found.items())
    }


def _example(image: SourceImage, rows: list[Row], combinations: Sequence[PruningConfig]) -> RulesExample:
    rows = sorted(rows, key=lambda row: row["combination"])
    size_hw = rows[0]["height"], rows[0]["width"]
    by_rule: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_rule[combinations[row["combination"]].rule].append(row)
    tiles = []
    for rule, own in by_rule.items():
        largest = max(own, key=lambda row: len(row["retained"]))
        tiles.append((rule, _tile(image, size_hw, own, largest["mask_rle"])))
    return RulesExample(image_id=rows[0]["image_id"], phrase=rows[0]["phrase"], tiles=tiles)


def _tile(image: SourceImage, size_hw: tuple[int, int], rows: list[Row], mask_rle: str) -> Picture:
    """The image lit where tokens were kept, the mask as a white outline."""
    if image.rgb is None or image.size_hw != size_hw:
        return draw_picture(image, size_hw, mask_rle)  # says why there is none
    lit = light(image.rgb, heat([row["retained"] for row in rows], rows[0]["num_visual_tokens"]))
    nothing = encode_mask(np.zeros(size_hw, bool)).counts
    return draw_picture(SourceImage(rgb=lit, size_hw=size_hw), size_hw, nothing, mask_rle)
