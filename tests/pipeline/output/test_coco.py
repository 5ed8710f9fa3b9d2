"""COCO parts: the layout to the letter, bounded in size, deterministic, valid JSON whatever the phrases hold."""

import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.output.coco import CocoAnnotation, clean_phrase, cvat_labels
from tests.pipeline.output.coco_writer import CocoSummary, CocoWriter


class _Part(io.BytesIO):
    """Keeps what was written when it is closed."""

    def __init__(self, name: str, parts: dict[str, bytes]) -> None:
        super().__init__()
        self._name, self._parts = name, parts

    def close(self) -> None:
        if not self.closed:
            assert self._name not in self._parts
            self._parts[self._name] = self.getvalue()
        super().close()


class Parts(dict[str, Any]):
    """Parts by name, as `open_part` of a writer."""

    def __call__(self, name: str) -> _Part:
        return _Part(name, self)


def box_mask(height: int, width: int, box_xyxy: tuple[int, int, int, int]) -> Any:
    mask = np.zeros((height, width), bool)
    left, top, right, bottom = box_xyxy
    mask[top:bottom, left:right] = True
    return encode_mask(mask)


def annotation(phrase: str = "the cat", score: float = 0.9, mask: Any = None) -> CocoAnnotation:
    return CocoAnnotation(mask=mask or box_mask(64, 96, (15, 15, 46, 46)), phrase=phrase, score=score)


def test_the_layout_to_the_letter() -> None:
    parts = Parts()
    writer = CocoWriter(parts)
    writer.add_image(file_name="sub/a.jpg", height=64, width=96, annotations=[annotation()])
    assert writer.close() == CocoSummary(parts=1, images=1, annotations=1, num_empty_masks=0)
    counts = box_mask(64, 96, (15, 15, 46, 46)).counts
    expected = (
        '{"info":{},"licenses":[{"id":0,"name":"","url":""}],'
        '"categories":[{"id":1,"name":"object","supercategory":""}],'
        '"images":[{"id":1,"file_name":"sub/a.jpg","width":96,"height":64,"license":0}],'
        '"annotations":[{"id":1,"image_id":1,"category_id":1,'
        f'"segmentation":{{"size":[64,96],"counts":{json.dumps(counts)}}},'
        '"area":961.0,"bbox":[15.0,15.0,31.0,31.0],"iscrowd":0,"score":0.9,'
        '"attributes":{"phrase":"the cat","record":"","source":"auto","review":"needs_review"}}]}\n'
    )
    assert parts == {"part-00000.json": expected.encode("ascii")}


def _write(num_images: int, max_part_bytes: int, info: dict[str, Any] | None = None) -> Parts:
    parts = Parts()
    writer = CocoWriter(parts, max_part_bytes=max_part_bytes, info=info)
    for index in range(num_images):
        annotations = [annotation(f"phrase {index} {number}") for number in range(index % 4)]
        writer.add_image(file_name=f"{index}.jpg", height=64, width=96, annotations=annotations)
    summary = writer.close()
    assert (summary.parts, summary.images) == (len(parts), num_images)
    return parts


def test_parts_are_bounded_ids_unique_and_images_whole() -> None:
    parts = _write(400, 20_000)
    assert len(parts) > 5
    assert list(parts) == [f"part-{index:05d}.json" for index in range(len(parts))]
    image_ids: list[int] = []
    annotation_ids: list[int] = []
    for index, data in enumerate(parts.values()):
        assert len(data) <= 20_000
        if index < len(parts) - 1:
            assert len(data) > 20_000 - 2_000
        content = json.loads(data)
        images = {image["id"]: image for image in content["images"]}
        image_ids += images
        annotation_ids += [entry["id"] for entry in content["annotations"]]
        found = dict.fromkeys(images, 0)
        for entry in content["annotations"]:
            found[entry["image_id"]] += 1
        for image_id, count in found.items():
            assert images[image_id]["file_name"] == f"{image_id - 1}.jpg"
            assert count == (image_id - 1) % 4
    assert image_ids == list(range(1, 401))
    assert annotation_ids == list(range(1, 601))


def test_the_same_calls_give_the_same_bytes() -> None:
    info = {"description": "ä", "version": 2}
    assert _write(50, 9_000, info) == _write(50, 9_000, info)
    assert json.loads(_write(1, 9_000, info)["part-00000.json"])["info"] == info


def test_an_image_larger_than_a_part_stays_whole() -> None:
    parts = Parts()
    writer = CocoWriter(parts, max_part_bytes=5_000)
    for index, count in enumerate((1, 50, 1)):
        writer.add_image(file_name=f"{index}.jpg", height=64, width=96, annotations=[annotation()] * count)
    assert writer.close().parts == 3
    assert [len(json.loads(data)["annotations"]) for data in parts.values()] == [1, 50, 1]


def test_empty_masks_are_left_out_and_their_images_stay() -> None:
    parts = Parts()
    writer = CocoWriter(parts)
    empty = annotation("nothing", mask=encode_mask(np.zeros((64, 96), bool)))
    writer.add_image(file_name="a.jpg", height=64, width=96, annotations=[empty, annotation(), empty])
    writer.add_image(file_name="b.jpg", height=64, width=96, annotations=[empty])
    writer.add_image(file_name="c.jpg", height=1, width=1, annotations=[])
    assert writer.close() == CocoSummary(parts=1, images=3, annotations=1, num_empty_masks=3)
    content = json.loads(parts["part-00000.json"])
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [entry["id"] for entry in content["annotations"]] == [1]


def test_no_image_at_all_gives_one_empty_part() -> None:
    parts = Parts()
    assert CocoWriter(parts).close().parts == 1
    assert json.loads(parts["part-00000.json"])["images"] == []


def test_closing_twice_writes_once_and_a_closed_writer_refuses() -> None:
    parts = Parts()
    writer = CocoWriter(parts)
    assert writer.close() == writer.close()
    assert len(parts) == 1
    with pytest.raises(ValueError, match="closed"):
        writer.add_image(file_name="a.jpg", height=1, width=1, annotations=[])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), -0.01, 1.01, np.float32("nan")])
def test_scores_that_are_none_are_refused(score: Any) -> None:
    with pytest.raises(ValueError, match="score: must be a number"):
        CocoWriter(Parts()).add_image(file_name="a.jpg", height=64, width=96, annotations=[annotation(score=score)])


def test_numpy_numbers_are_written_as_plain_ones() -> None:
    parts = Parts()
    writer = CocoWriter(parts)
    height, width = np.int64(64), np.int64(96)
    writer.add_image(file_name="a.jpg", height=height, width=width, annotations=[annotation(score=np.float32(0.1))])
    writer.close()
    content = json.loads(parts["part-00000.json"])
    assert content["annotations"][0]["score"] == 0.1
    assert content["images"][0]["height"] == 64


NAMES = [
    "/a.jpg",
    "../a.jpg",
    "a/../b.jpg",
    "a//b.jpg",
    "a\\b.jpg",
    "",
    ".",
    "a/",
    "a\0.jpg",
    "a\n.jpg",
    "a\u202egpj.exe",
    "a\ud800",
]


@pytest.mark.parametrize("name", NAMES)
def test_file_names_that_lead_elsewhere_are_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="file_name: must be a plain relative path"):
        CocoWriter(Parts()).add_image(file_name=name, height=1, width=1, annotations=[])


def test_a_name_that_is_taken_is_refused() -> None:
    writer = CocoWriter(Parts())
    writer.add_image(file_name="sub/a.jpg", height=1, width=1, annotations=[])
    writer.add_image(file_name="sub/a.png", height=1, width=1, annotations=[])
    with pytest.raises(ValueError, match=r"'sub/a\.jpg' is the name of another image"):
        writer.add_image(file_name="sub/a.jpg", height=1, width=1, annotations=[])
    assert writer.close().images == 2


def test_sizes_are_checked() -> None:
    writer = CocoWriter(Parts())
    with pytest.raises(ValueError, match="differs from the image"):
        writer.add_image(file_name="a.jpg", height=96, width=64, annotations=[annotation()])
    with pytest.raises(ValueError, match="height, width"):
        writer.add_image(file_name="a.jpg", height=0, width=64, annotations=[])
    with pytest.raises(ValueError, match="max_part_bytes"):
        CocoWriter(Parts(), max_part_bytes=0)


@pytest.mark.slow
def test_memory_is_bounded_by_one_part() -> None:
    class Sink(io.BytesIO):
        def write(self, data: Any) -> int:
            return len(data)

    writer = CocoWriter(lambda _: Sink(), max_part_bytes=1_000_000)
    annotations = [annotation(phrase="p" * 3000)]
    tracemalloc.start()
    try:
        for index in range(3_000):
            writer.add_image(file_name=f"{index}.jpg", height=64, width=96, annotations=annotations)
        assert writer.close().parts >= 9
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


HOSTILE = {
    "control": "a\x00b\x1b[31mc\r\nd\x7f\x85",
    "right to left": "\u202ethe cat\u202c עברית \u2067x\u2069",
    "zero width": "c\u200ba\u200dt\ufeff👩\u200d🚀",
    "lone surrogate": "a\ud800b\udfff",
    "html": "</script><script>alert(1)</script>",
    "json": '","iscrowd":1,"x":"\\u0000',
    "line separators": "a\u2028b\u2029c",
    "10 MB": "x" * 10_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_phrases_stay_valid(name: Any) -> None:
    parts = Parts()
    writer = CocoWriter(parts)
    writer.add_image(file_name="a.jpg", height=64, width=96, annotations=[annotation(HOSTILE[name])])
    writer.close()
    data = parts["part-00000.json"]
    assert len(data) < 60_000
    assert all(32 <= byte < 127 for byte in data[:-1])
    entry = json.loads(data)["annotations"][0]
    assert entry["iscrowd"] == 0
    phrase = entry["attributes"]["phrase"]
    assert phrase == clean_phrase(HOSTILE[name])
    assert phrase.encode("utf-8").decode("utf-8") == phrase
    assert not any(ord(char) < 32 or ord(char) == 127 for char in phrase)
    assert len(phrase) <= 4096


def test_scripts_and_emoji_keep_their_joiners() -> None:
    assert clean_phrase(HOSTILE["zero width"]) == HOSTILE["zero width"]
    assert clean_phrase("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec=None, categories=None), max_size=40),
            st.floats(0, 1),
            st.lists(st.booleans(), min_size=12, max_size=12),
        ),
        max_size=8,
    ),
    st.integers(1, 3_000),
)
def test_anything_written_is_read_back(entries: Any, max_part_bytes: Any) -> None:
    parts = Parts()
    writer = CocoWriter(parts, max_part_bytes=max_part_bytes)
    expected = []
    for index, (phrase, score, pixels) in enumerate(entries):
        mask = encode_mask(np.array(pixels).reshape(3, 4))
        expected += [(index + 1, clean_phrase(phrase), mask.counts, round(score, 6))] if mask.area else []
        writer.add_image(
            file_name=f"{index}.png",
            height=3,
            width=4,
            annotations=[CocoAnnotation(mask=mask, phrase=phrase, score=score)],
        )
    summary = writer.close()
    contents = [json.loads(data) for data in parts.values()]
    found = [
        (entry["image_id"], entry["attributes"]["phrase"], entry["segmentation"]["counts"], entry["score"])
        for content in contents
        for entry in content["annotations"]
    ]
    assert found == expected
    assert summary.images == sum(len(content["images"]) for content in contents) == len(entries)
    assert summary.annotations + summary.num_empty_masks == len(entries)


def test_cvat_labels_declare_every_attribute_that_is_written() -> None:
    labels = json.loads(cvat_labels())
    assert [label["name"] for label in labels] == ["object"]
    declared = {attribute["name"]: attribute for attribute in labels[0]["attributes"]}
    parts = Parts()
    writer = CocoWriter(parts)
    writer.add_image(file_name="a.jpg", height=64, width=96, annotations=[annotation()])
    writer.close()
    entry = json.loads(parts["part-00000.json"])["annotations"][0]
    assert set(declared) == {*entry["attributes"], "score"}
    for name in ("source", "review"):
        assert entry["attributes"][name] == declared[name]["default_value"]
