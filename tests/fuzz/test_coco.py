"""Generated names, phrases, scores and masks: COCO files that parse, agree with themselves, and load."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.output.coco import MAX_PHRASE_CHARS, CocoAnnotation
from litelvlm.pipeline.output.image_index import ImageIndex
from litelvlm.pipeline.output.names import safe_file_name
from litelvlm.pipeline.output.unique_names import hashes_of, whole_name
from tests.fuzz.profiles import fuzz
from tests.fuzz.test_records import HOSTILE_TEXTS
from tests.pipeline.output.coco_writer import CocoWriter

pytestmark = pytest.mark.slow

ANY_TEXT = st.one_of(
    st.sampled_from(HOSTILE_TEXTS),
    st.text(st.characters(codec=None, categories=None), max_size=40),
    st.sampled_from(
        ["\ud800", "a\udfffb", "x" * 10_000, "e" + "\u0301" * 5_000, '","iscrowd":1,"x":"', "\\u0000", "</script>"]
    ),
)
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)


@st.composite
def images(draw: st.DrawFn) -> tuple[str, np.ndarray, list[str], list[float]]:
    """An id, P masks of one size, P phrases and P scores."""
    shape = draw(SHAPES)
    count = draw(st.integers(0, 4))
    masks = draw(hnp.arrays(bool, (count, *shape)))
    phrases = draw(st.lists(ANY_TEXT, min_size=count, max_size=count))
    scores = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    return draw(ANY_TEXT), masks, phrases, scores


class _Parts(dict[str, Any]):
    """Parts by name, as `open_part` of a writer."""

    def __call__(self, name: str) -> io.BytesIO:
        parts = self

        class Part(io.BytesIO):
            def close(self) -> None:
                parts[name] = self.getvalue()
                super().close()

        return Part()


def _write(given: list[tuple[str, np.ndarray, list[str], list[float]]], max_part_bytes: int) -> _Parts:
    parts = _Parts()
    writer = CocoWriter(parts, max_part_bytes=max_part_bytes)
    runs = [
        (f"{number:016x}", safe_file_name(image_id.encode("utf-8", "replace").decode(), None, PNG_MAGIC, root=None))
        for number, (image_id, *_) in enumerate(given)
    ]
    index = ImageIndex()
    index.add(*hashes_of(runs, whole_name))
    index.rename(runs)
    for (key, file_name), (_, masks, phrases, scores) in zip(runs, given, strict=True):
        annotations = [
            CocoAnnotation(mask=encode_mask(mask), phrase=phrase, score=score)
            for mask, phrase, score in zip(masks, phrases, scores, strict=True)
        ]
        name = index.renamed.get(key, file_name)
        writer.add_image(file_name=name, height=masks.shape[1], width=masks.shape[2], annotations=annotations)
    writer.close()
    return parts


@fuzz(150)
@given(st.lists(images(), min_size=1, max_size=5), st.integers(1, 20_000))
def test_whatever_is_written_loads_and_is_what_went_in(given_images: Any, max_part_bytes: Any) -> None:
    parts = _write(given_images, max_part_bytes)
    expected = [(masks.shape[1:], [mask for mask in masks if mask.any()]) for _, masks, _, _ in given_images]
    loaded = [_load(data) for data in parts.values()]
    images = [image for coco in loaded for image in coco.dataset["images"]]
    annotations = [annotation for coco in loaded for annotation in coco.dataset["annotations"]]
    assert [image["id"] for image in images] == list(range(1, len(given_images) + 1))
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    for image, (size_hw, masks) in zip(images, expected, strict=True):
        assert (image["height"], image["width"]) == size_hw
        _check_annotations(by_image[image["id"]], masks)


def _check_annotations(annotations: list[dict[str, Any]], masks: list[np.ndarray]) -> None:
    assert len(annotations) == len(masks)
    for annotation, mask in zip(annotations, masks, strict=True):
        assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)
        assert np.array_equal(coco_mask.decode(annotation["segmentation"]).astype(bool), mask)
        assert annotation["area"] == mask.sum() == coco_mask.area(annotation["segmentation"])
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
        assert 0 <= annotation["score"] <= 1
        assert set(annotation["attributes"]) == {"phrase", "record", "source", "review"}
        phrase = annotation["attributes"]["phrase"]
        assert len(phrase) <= MAX_PHRASE_CHARS
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in phrase)


def _load(data: bytes) -> COCO:
    assert all(32 <= byte < 127 for byte in data[:-1])
    content = json.loads(data, parse_constant=_refuse)
    assert [category["id"] for category in content["categories"]] == [1]
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        path = Path(directory) / "part.json"
        path.write_bytes(data)
        return COCO(str(path))


def _refuse(name: str) -> None:
    """JSON has no NaN and no infinity."""
    raise AssertionError(name)


@fuzz(100)
@given(st.lists(images(), min_size=1, max_size=5), st.integers(200, 20_000))
def test_parts_keep_their_size(given_images: Any, max_part_bytes: Any) -> None:
    for data in _write(given_images, max_part_bytes).values():
        assert len(data) <= max_part_bytes or len(json.loads(data)["images"]) == 1


@fuzz(300)
@given(hnp.arrays(bool, SHAPES))
def test_masks_survive(mask: Any) -> None:
    encoded = encode_mask(mask)
    assert np.array_equal(decode_mask(encoded), mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encoded.counts == theirs["counts"].decode("ascii")
