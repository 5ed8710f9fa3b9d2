"""Images of a run read again: as its masks see them, each once, and what cannot be read any more is counted."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.export.run_images import finished_parts, read_images
from litelvlm.pipeline.export.source_files import SourceFiles, named_from
from litelvlm.pipeline.fetch.policy import uri_policy
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import picture, png, row


def jpeg(rgb: np.ndarray, orientation: int) -> bytes:
    """A JPEG that is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def read_again(root: Path, rows: list[dict[str, Any]], **settings: Any) -> tuple[dict[str, bytes | None], SourceFiles]:
    """File name -> image of a run over these rows."""
    storage, config = make_output(root, rows, **settings)
    files = SourceFiles(storage, config, uri_policy(config))
    (part,) = finished_parts(storage)
    return {image.file_name: image.data for image in files.add_to(read_images(storage, part, 0.0))}, files


def test_images_come_as_they_are_or_turned_as_their_masks_see_them(tmp_path: Path) -> None:
    rows = [row(0), row(1, image=jpeg(picture(1, height=20, width=40), 6)), row(2, image=b"broken"), row(3)]
    found, files = read_again(tmp_path, rows)
    assert list(found) == ["image-0000.png", "image-0001.jpg", "image-0003.png"]
    assert found["image-0000.png"] == rows[0]["image"]
    turned = Image.open(io.BytesIO(found["image-0001.jpg"] or b""))
    assert (turned.format, turned.size, dict(turned.getexif())) == ("JPEG", (20, 40), {})
    assert not files.counts


def test_scattered_images_are_read_where_they_are_first_met(tmp_path: Path) -> None:
    rows = [row(number % 3, phrase) for number, phrase in enumerate(["a", "bb", "ccc"] * 4)]
    found, files = read_again(tmp_path, rows, shard_images=2)
    assert found == {f"image-000{number}.png": rows[number]["image"] for number in range(3)}
    assert not files.counts


def test_images_that_are_gone_or_others_now_are_counted(tmp_path: Path) -> None:
    names = [tmp_path / "images" / f"{number}.png" for number in range(4)]
    names[0].parent.mkdir()
    for number, name in enumerate(names):
        name.write_bytes(png(picture(number)))
    rows = [{"image_id": name.stem, "uri": str(name), "phrases": ["a dog"]} for name in names]
    storage, config = make_output(tmp_path, rows)
    names[0].unlink()
    names[1].write_bytes(png(picture(1, height=99)))
    bomb = bytearray(names[3].read_bytes())
    bomb[16:24] = struct.pack(">II", 100_000, 100_000)  # what the header claims; Pillow's own limit is no ValueError
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    names[3].write_bytes(bomb)
    files = SourceFiles(storage, config, uri_policy(config))
    found = list(files.add_to(read_images(storage, finished_parts(storage)[0], 0.0)))
    assert [one.data is None for one in found] == [True, True, False, True]
    assert files.counts == {"unread: not_found": 1, "unread: ValueError": 1, "unread: too_many_pixels": 1}


def test_a_part_finds_its_own_images(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, [row(number, "a", "bb") for number in range(6)])
    images = list(read_images(storage, finished_parts(storage)[0], 0.0))
    files = SourceFiles(storage, config, uri_policy(config))
    found = list(files.add_to(dataclasses.replace(one) for one in images[4:]))
    assert [one.data for one in found] == [row(4)["image"], row(5)["image"]]
    assert [one.source_row for one in named_from(storage, 3)] == [2, 3, 4, 5]
    assert list(named_from(storage, 7)) == []
    with pytest.raises(DataError, match=r"names\.parquet does not hold image-0000\.png"):
        list(files.add_to([images[4], images[0]]))
    storage.delete(["names.parquet"])
    with pytest.raises(DataError, match=r"names\.parquet is gone"):
        list(files.add_to(images[:1]))
