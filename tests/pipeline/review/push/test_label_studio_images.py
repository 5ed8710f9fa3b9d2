"""Copies go up once each, as browsers show them, and their tasks name them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.review.formats.label_studio_tasks import local_file_url
from litelvlm.pipeline.review.push.label_studio_images import UploadedImages
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.review.push.conftest import ApiError
from tests.pipeline.review.push.test_label_studio import FakeClient


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An export of images of several formats, two of which are equal."""
    rgb = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    found = Storage(str(tmp_path))
    for name, kind in (("a.png", "PNG"), ("sub/same.png", "PNG"), ("b.tif", "TIFF"), ("no ending", "JPEG")):
        buffer = io.BytesIO()
        Image.fromarray(rgb[::-1] if kind == "TIFF" else rgb).save(buffer, kind)
        found.write_bytes(f"images/{name}", buffer.getvalue())
    return found


def task(name: str, **changes: Any) -> dict[str, Any]:
    return {"data": {"image": local_file_url(name), "file_name": name} | changes}


def test_each_content_goes_up_once_whoever_asks(storage: Storage) -> None:
    client = FakeClient()
    shown = [task(name) for name in ("a.png", "sub/same.png", "b.tif", "no ending")]
    assert all(UploadedImages(client, "p", storage).show(one) for one in shown)
    first, same, tiff, jpeg = (one["data"]["image"] for one in shown)
    assert first == same
    assert [Path(one).suffix for one in (first, tiff, jpeg)] == [".png", ".png", ".jpg"]
    assert all(one.startswith("/data/upload/8/0123abcd-") for one in (first, tiff, jpeg))
    assert client.uploads[0] == storage.read_bytes("images/a.png")
    assert client.uploads[2] == storage.read_bytes("images/no ending")
    turned = np.asarray(Image.open(io.BytesIO(client.uploads[1])))
    np.testing.assert_array_equal(turned, np.asarray(Image.open(io.BytesIO(client.uploads[0])))[::-1])
    again = task("a.png")
    UploadedImages(client, "p", storage).show(again)
    assert again["data"]["image"] == first
    assert len(client.uploads) == 3
    assert [one.title for one in client.made] == ["p (images)"]


def test_other_images_and_missing_ones_stay_as_they_are(storage: Storage) -> None:
    client = FakeClient()
    images = UploadedImages(client, "p", storage)
    far, gone = task("a.png", image="https://images.example/a.png"), task("gone.png")
    assert images.show(far)
    assert not images.show(gone)
    assert far["data"]["image"] == "https://images.example/a.png"
    assert not client.uploads


def test_a_server_that_refuses_is_heard(storage: Storage) -> None:
    client = FakeClient()
    client.refuses = True
    with pytest.raises(ApiError, match="too large"):
        UploadedImages(client, "p", storage).show(task("a.png"))
