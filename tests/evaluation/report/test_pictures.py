"""Where tokens were kept: the image lit by them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.merge import ANSWERS_NAME
from litelvlm.evaluation.records import ANSWER_SCHEMA
from litelvlm.evaluation.report.pictures import draw_examples, heat, light
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.shards.claim import claim_output
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.storage.store import Storage
from tests.evaluation.samples import evaluation_config, truth_row, write_rows
from tests.fakes import true_mask
from tests.pipeline.samples import picture

SIZE_HW = (24, 32)


def test_light_falls_where_tokens_were_kept() -> None:
    kept = heat([[0, 1, 2, 3], [0, 1]], 4)
    assert kept.tolist() == [1.0, 1.0, 0.5, 0.5]
    rgb = np.full((10, 30, 3), 200, np.uint8)
    lit = light(rgb, heat([[0]], 4))
    assert lit[2, 12, 0] == 200  # the first patch of the central square
    assert lit[2, 17, 0] < 60
    assert lit[2, 0, 0] == 20  # outside


def test_no_budget_keeps_nothing() -> None:
    assert heat([], 4).tolist() == [0] * 4


@pytest.fixture
def config(tmp_path: Path) -> EvaluationConfig:
    """Of two images, planned, without answers."""
    source = write_rows(tmp_path / "in.parquet", [truth_row(0, "a dog", "blue thing"), truth_row(1, "a dog")])
    config = evaluation_config(source, tmp_path / "out", rules=("none", "trim"), budgets=(8, 4))
    claim_output(Storage(config.run.output), make_plan(config.run, revision="r"), config.run)
    return config


def _answered(config: EvaluationConfig, **changes: Any) -> Storage:
    """Answers of all three combinations to every phrase; the first image is an example."""
    rows = []
    for number, phrase, index in ((0, "a dog", 0), (0, "blue thing", 1), (1, "a dog", 0)):
        mask = encode_mask(true_mask(picture(number), phrase)).counts
        for combination, kept in enumerate((16, 8, 4)):
            row = {
                "combination": combination, "source_file": config.run.source.input[0], "source_row": number,
                "phrase_index": index, "image_id": f"image-{number:03}", "image_key": str(number), "phrase": phrase,
                "num_words": 2, "status": "scored", "height": SIZE_HW[0], "width": SIZE_HW[1], "mask_rle": mask,
                "num_visual_tokens": 16, "retained": list(range(kept)) if number == 0 else None,
            }  # fmt: skip
            rows.append(row | changes)
    storage = Storage(config.run.output)
    stream = storage.open_write(ANSWERS_NAME)
    pq.write_table(pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA), stream)
    stream.close()
    return storage


def test_examples_show_the_first_expression_under_every_rule(config: EvaluationConfig) -> None:
    [example] = draw_examples(_answered(config), config, UriPolicy())
    assert (example.image_id, example.phrase) == ("image-000", "a dog")
    assert [rule for rule, _ in example.tiles] == ["none", "trim"]
    whole, pruned = (picture for _, picture in example.tiles)
    images = []
    for tile in (whole, pruned):
        assert tile.uri is not None, tile.note
        images.append(np.array(Image.open(io.BytesIO(base64.b64decode(tile.uri.split(",")[1]))), dtype=float))
    below = np.s_[-5:, 6:-6]  # the last row of patches, which no budget of the rule kept
    assert images[1][below].mean() < 0.5 * images[0][below].mean()


def test_an_image_that_changed_since_is_a_note(config: EvaluationConfig) -> None:
    [example] = draw_examples(_answered(config, height=25), config, UriPolicy())
    assert all(tile.uri is None and tile.note for _, tile in example.tiles)


def test_without_examples_there_are_no_pictures(config: EvaluationConfig) -> None:
    assert draw_examples(_answered(config, retained=None), config, UriPolicy()) == []
