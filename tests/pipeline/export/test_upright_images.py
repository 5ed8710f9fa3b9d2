"""Copies of a run's images: upright, by the COCO files' names, each once, whatever was killed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.export.upright_images import has_images, write_images
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.export.test_source_files import jpeg
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import picture, read_coco, row


def copies(storage: Storage) -> dict[str, bytes]:
    """Name -> content."""
    root = Path(storage.root, "upright")
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def writes_until_killed(patch: pytest.MonkeyPatch, kept: int) -> list[str]:
    """Let so many writes be the last. Returns their names, as they come."""
    write, written = Storage.write_bytes, list[str]()

    def dying(self: Storage, name: str, data: bytes) -> None:
        if len(written) == kept:
            raise KeyboardInterrupt
        written.append(name)
        write(self, name, data)

    patch.setattr(Storage, "write_bytes", dying)
    return written


def rows() -> list[dict[str, Any]]:
    """Bytes that exist nowhere else, a turned one, a broken one, two of one name, and one with a long name."""
    found = [row(0), row(1, image=jpeg(picture(1, height=20, width=40), 6)), row(2, image=b"broken"), row(3)]
    found += [row(4, image_id="image-0000"), row(5, "a dog", "x", image_id="folder/" + "ä" * 140), row(3, "a dog")]
    return found


@pytest.fixture
def output(tmp_path: Path) -> tuple[Storage, RunConfig]:
    return make_output(tmp_path, rows(), shard_images=2)


def test_every_image_of_the_coco_files_is_there_upright(output: tuple[Storage, RunConfig]) -> None:
    storage, config = output
    told: list[str] = []
    assert not has_images(storage)
    assert write_images(storage, config, told.append) == {"images": 5, "copied": 5}
    assert has_images(storage)
    entries = {one["file_name"]: (one["width"], one["height"]) for one in read_coco(storage.root)["images"]}
    found = copies(storage)
    assert set(found) == set(entries) == set(pq.read_table(f"{storage.root}/names.parquet")["file_name"].to_pylist())
    for name, size in entries.items():
        image = Image.open(io.BytesIO(found[name]))
        assert (image.size, dict(image.getexif())) == (size, {})
    assert found["image-0000.png"] == rows()[0]["image"]
    assert told == [f"5 of 5 images are in {storage.root}/upright"]


@pytest.mark.slow
def test_killed_at_any_write_and_called_again_it_is_the_same(
    output: tuple[Storage, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = output
    write_images(storage, config, print)
    whole = copies(storage)
    for kept in range(6):
        storage.delete([*(f"upright/{name}" for name in whole), "upright.json"])
        with monkeypatch.context() as patch:
            writes_until_killed(patch, kept)
            with pytest.raises(KeyboardInterrupt):
                write_images(storage, config, print)
        assert not has_images(storage)
        with monkeypatch.context() as patch:
            written = writes_until_killed(patch, 100)
            assert write_images(storage, config, print)["copied"] == 5
        assert copies(storage) == whole
        assert len(written) == 5 - kept + 1, "what is there is not written again"


def test_what_cannot_be_read_is_told_and_tried_again(tmp_path: Path) -> None:
    images = [tmp_path / "images" / f"{number}.png" for number in range(2)]
    images[0].parent.mkdir()
    for path, one in zip(images, (row(0), row(1)), strict=True):
        path.write_bytes(one["image"])
    given: list[dict[str, Any]] = [
        {"image_id": str(number), "image_path": f"{number}.png", "phrases": ["the red box"]} for number in range(2)
    ]
    storage, config = make_output(tmp_path, given, image_root=str(tmp_path / "images"))
    images[1].unlink()
    told: list[str] = []
    write_images(storage, config, told.append)
    assert told == [f"1 of 2 images are in {storage.root}/upright (1 unread: not_found)"]
    assert not has_images(storage)
    images[1].write_bytes(row(1)["image"])
    assert write_images(storage, config, print) == {"images": 2, "copied": 2}
    assert has_images(storage)


def test_a_name_that_is_the_folder_of_another_costs_that_one_alone(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, [row(0, image_id="a.png"), row(1, image_id="a.png/b"), row(2)])
    counts = write_images(storage, config, print)
    assert (counts["images"], counts["copied"]) == (3, 2)
    assert json.loads(storage.read_bytes("upright.json"))["copied"] == 2


def test_a_store_that_fails_ends_it(output: tuple[Storage, RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    storage, config = output

    def failing(*_: Any) -> None:
        raise StorageError("writing: the store is away")

    monkeypatch.setattr(Storage, "write_bytes", failing)
    with pytest.raises(StorageError, match="the store is away"):
        write_images(storage, config, print)
