"""A finished run whose masks have what formats stumble over: holes, pieces, overlaps, single pixels, none at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fakes import FakeEngine, true_mask
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import png, read_records

#: The fake model finds a color by the length of the phrase: red, green, blue.
RED, GREEN, BLUE = "red", "four", "fiver"
CLASSES = [
    {"name": "ring", "id": 7, "supercategory": "shape", "prompts": [RED]},
    {"name": "hälf: of <it>", "id": 3, "prompts": [GREEN]},
    {"name": "dots", "id": 300, "prompts": [BLUE]},
]
SIZE_HW = (40, 60)
NAMES = [str(one["name"]) for one in CLASSES]
PHRASES = [RED, GREEN, BLUE]


def drawn(number: int) -> np.ndarray:
    """(H, W, 3) uint8: a ring with two holes in red, a half of the image in green, scattered dots in blue."""
    rng = np.random.default_rng(number)
    rgb = np.zeros((*SIZE_HW, 3), np.uint8)
    rgb[5:35, 10:50, 0] = 200
    rgb[10:20, 15:25, 0] = 0
    rgb[22:23, 30:31, 0] = 0
    rgb[:, : 20 + number, 1] = 200
    rgb[..., 2] = 200 * (rng.random(SIZE_HW) < 0.05)
    return rgb


def truth(number: int, phrase: str) -> np.ndarray:
    """The mask that must come out."""
    return true_mask(drawn(number), phrase)


def masked_run(root: Path, *, count: int = 4, **settings: Any) -> Path:
    """Images `dir.d/0.png`, `dir.d/1.png`, … of ids `id 0`, …; the last is black, and one before it is broken."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        data = png(drawn(number) if number < count - 1 else np.zeros((*SIZE_HW, 3), np.uint8))
        image = {"bytes": data, "path": f"dir.d/{number}.png"}
        rows.append({"image_id": f"id {number}", "image": image})
    rows.insert(1, {"image_id": "broken", "image": {"bytes": b"<html>", "path": "broken.png"}})
    make_output(root, rows, engine=FakeEngine(), ontology=CLASSES, shard_images=2, **settings)
    return root / "out"


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two (H, W) bool masks."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def check_images(folder: Path) -> None:
    """They are those of the input, with the black one, by their names."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert names == [f"dir.d/{number}.png" for number in range(4)]
    with Image.open(folder / names[0]) as image:
        assert image.size == SIZE_HW[::-1]


def num_found(run: Path) -> int:
    """How many masks stand."""
    return sum(record["status"] == "ok" for record in read_records(run))
