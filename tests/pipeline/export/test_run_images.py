"""What an export reads of a run, and refuses of one that is damaged or not finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.export.run_images import finished_parts, read_classes, read_images
from litelvlm.pipeline.storage.store import Storage

PART = "annotations/part-00000.json"


def test_images_come_in_order_with_their_objects(run: Path) -> None:
    storage = Storage(str(run))
    assert finished_parts(storage) == [PART]
    assert [(one.id, one.name, one.supercategory) for one in read_classes(storage, PART)] == [
        (7, "ring", "shape"), (3, "hälf: of <it>", ""), (300, "dots", ""),
    ]  # fmt: skip
    images = list(read_images(storage, PART, 0.0))
    assert [(one.source_id, one.stem, len(one.objects)) for one in images] == [
        ("id 0", "dir.d/0", 3), ("id 1", "dir.d/1", 3), ("id 2", "dir.d/2", 3), ("id 3", "dir.d/3", 0),
    ]  # fmt: skip
    scores = sorted({one.score for image in images for one in image.objects})
    some = list(read_images(storage, PART, scores[1]))
    assert [len(one.objects) for one in some] == [2, 2, 2, 0], "a score that is enough is enough"


def test_a_run_that_is_not_finished_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run: there is no _SUCCESS"):
        finished_parts(Storage(str(tmp_path)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:100],
        lambda text: "[]",
        lambda text: text.replace('"counts":"', '"counts":"0'),
        lambda text: text.replace('"category_id":7', '"category_id":8'),
        lambda text: text.replace('"annotations"', '"anotations"'),
        lambda text: text.replace('"size":[40,60]', '"size":[4000000,60000]'),
    ],
)
def test_damage_is_told(run: Path, tmp_path: Path, damage: Any) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / PART
    assert json.loads(path.read_text())
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"part-00000\.json is damaged: "):
        list(read_images(Storage(str(tmp_path / "run")), PART, 0.0))
