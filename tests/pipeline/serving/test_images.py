"""Images of a request: what may be read, and what it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.fetch.policy import FetchError
from litelvlm.pipeline.images.decode import ImageError
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.images import ImageReader, refusal_of
from tests.pipeline.samples import picture, png
from tests.pipeline.serving.doubles import Preprocessor


def test_below_the_root_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    data = png(picture(1))
    (tmp_path / "images/a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    (tmp_path / "images/link.png").symlink_to(tmp_path / "b.png")
    reader = ImageReader(ServeConfig(image_root=str(tmp_path / "images")), Preprocessor())
    assert reader.fetch("a.png") == data
    for uri in (
        "../b.png",
        "link.png",
        str(tmp_path / "b.png"),
        f"file://{tmp_path}/images/a.png",
        "http://127.0.0.1/a",
    ):
        with pytest.raises(FetchError, match="refused"):
            reader.fetch(uri)


def test_clients_are_not_told_where_images_lie(tmp_path: Path) -> None:
    reader = ImageReader(ServeConfig(image_root=str(tmp_path)), Preprocessor())
    with pytest.raises(FetchError) as caught:
        reader.fetch("a/none.png")
    told = refusal_of(caught.value, "image.uri", str(tmp_path))
    assert (told.status, told.code, str(told)) == (422, "not_found", "a/none.png does not exist")
    of_store = refusal_of(
        FetchError("forbidden", "s3://bucket/in/a.png may not be read"), "image.uri", "s3://bucket/in/"
    )
    assert str(of_store) == "a.png may not be read"


def test_an_image_is_decoded_within_the_limits() -> None:
    config = ServeConfig.from_flat({"max_pixels": 24 * 32})
    reader = ImageReader(config, Preprocessor())
    read = reader.read(png(picture(2)))
    prepared: Any = read.prepared
    assert np.array_equal(prepared.rgb, picture(2))
    assert (read.size_hw, len(read.perceptual_hash)) == ((24, 32), 16)
    with pytest.raises(ImageError, match="too_many_pixels"):
        reader.read(png(picture(2, height=25)))
