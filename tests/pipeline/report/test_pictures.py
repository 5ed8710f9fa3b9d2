"""Pictures: masks where they are, bounded sizes, and notes for what cannot be had."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.fetch.policy import UriPolicy, uri_policy
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.report.pictures import (
    MAX_BYTES,
    PAIR_COLOURS,
    SIDE_PX,
    SourceImage,
    SourceImages,
    draw_pair,
    draw_picture,
)
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import picture, png, row


def mask_of(height: int, width: int) -> str:
    """A mask of the upper left quarter."""
    mask = np.zeros((height, width), dtype=bool)
    mask[: height // 2, : width // 2] = True
    return encode_mask(mask).counts


def decoded(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"), validate=True)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


def test_a_mask_is_seen_where_it_is() -> None:
    grey = np.full((100, 160, 3), 120, dtype=np.uint8)
    drawn = draw_picture(SourceImage(rgb=grey, size_hw=(100, 160)), (100, 160), mask_of(100, 160))
    pixels = decoded(drawn.uri)
    assert pixels.shape == (drawn.height, drawn.width, 3) == (300, SIDE_PX, 3)
    inside, outside = pixels[20:130, 20:220], pixels[170:280, 260:460]
    assert (inside[..., 0] - inside[..., 1]).min() > 60
    assert np.abs(outside - 120).max() < 12


def test_two_masks_have_their_colours() -> None:
    grey, quarter = np.full((100, 160, 3), 120, dtype=np.uint8), mask_of(100, 160)
    for masks, levels in (((quarter, None), PAIR_COLOURS[0]), ((None, quarter), PAIR_COLOURS[1])):
        drawn = draw_pair(SourceImage(rgb=grey, size_hw=(100, 160)), (100, 160), *masks)
        inside, outside = decoded(drawn.uri)[20:130, 20:220], decoded(drawn.uri)[170:280, 260:460]
        assert ((inside.mean((0, 1)) > 120) == (np.array(levels) > 120)).all()
        assert np.abs(outside - 120).max() < 12
    assert draw_pair(SourceImage(note="gone"), (8, 8), None, None).note == "gone"
    image = SourceImage(rgb=grey, size_hw=(100, 160))
    assert "another size" in (draw_pair(image, (100, 161), None, None).note or "")
    assert "run lengths" in (draw_pair(image, (100, 160), "1", None).note or "")


def test_the_worst_picture_still_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    drawn = draw_picture(SourceImage(rgb=noise, size_hw=noise.shape[:2]), noise.shape[:2], mask_of(SIDE_PX, SIDE_PX))
    assert drawn.uri is not None
    assert len(drawn.uri) < 4 / 3 * MAX_BYTES + 100


@pytest.mark.parametrize(
    ("image", "rle", "said"),
    [
        (SourceImage(note="gone"), "00", "gone"),
        (SourceImage(rgb=np.zeros((8, 8, 3), np.uint8), size_hw=(9, 8)), "00", "another size now: 8×9"),
        (SourceImage(rgb=np.zeros((8, 8, 3), np.uint8), size_hw=(8, 8)), "1", "run lengths do not fill"),
    ],
    ids=["no image", "another image", "a broken mask"],
)
def test_what_cannot_be_drawn_is_a_note(image: SourceImage, rle: str, said: str) -> None:
    drawn = draw_picture(image, (8, 8), rle)
    assert drawn.uri is None
    assert said in drawn.note


def test_images_come_from_where_the_run_may_read_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(picture(number, height=30, width=900)))
    rows = [row(number, image=f"{number}.png") for number in range(3)]
    storage, config = make_output(tmp_path, rows, image_root=str(tmp_path / "images"))
    keys = [(f"{tmp_path}/in.parquet", number) for number in range(3)]
    loaded = SourceImages(storage, config, uri_policy(config)).load(keys)
    assert [loaded[key].size_hw for key in keys] == [(30, 900)] * 3
    assert all(max(loaded[key].rgb.shape) == SIDE_PX for key in keys)
    assert loaded[keys[0]].phrases == ("the red box",)
    refused = SourceImages(storage, config, UriPolicy(image_root=str(tmp_path / "elsewhere"))).load(keys)
    assert all(refused[key].rgb is None and refused[key].note for key in keys)
    late = SourceImages(storage, config, uri_policy(config), budget_s=-1.0).load(keys)
    assert "took too long" in late[keys[0]].note
    assert "in no shard" in SourceImages(storage, config, uri_policy(config)).load([("x", 0)])["x", 0].note


def test_another_mask_is_outlined_in_white() -> None:
    grey = SourceImage(rgb=np.full((100, 160, 3), 120, dtype=np.uint8), size_hw=(100, 160))
    nothing = encode_mask(np.zeros((100, 160), dtype=bool)).counts
    pixels = decoded(str(draw_picture(grey, (100, 160), nothing, mask_of(100, 160)).uri))
    assert pixels[145:155, 20:220].min(axis=2).max() > 220  # its lower edge
    assert np.abs(pixels[40:110, 40:200] - 120).max() < 12  # not filled in


def test_a_file_is_found_by_its_shard(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, [row(0)])
    images = SourceImages(storage, config, uri_policy(config))
    [name] = [path.name.split(".")[0] for path in (tmp_path / "out/shards").iterdir()]
    assert images.file_of(name) == f"{tmp_path}/in.parquet"
    assert images.file_of("another") is None


def test_an_input_that_is_gone_is_a_note(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, [row(0)])
    (tmp_path / "in.parquet").unlink()
    key = (f"{tmp_path}/in.parquet", 0)
    loaded = SourceImages(storage, config, uri_policy(config)).load([key])[key]
    assert loaded.rgb is None
    assert "in.parquet" in (loaded.note or "")
