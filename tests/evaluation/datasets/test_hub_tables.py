"""The published Parquet layouts, with the columns and types that their dataset cards declare."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.datasets.hub_tables import layout_of, read_hub_tables
from litelvlm.pipeline.masks import decode_mask, encode_mask
from tests.evaluation.datasets.refer_files import BOXES, annotation, file_name, image_entry, picture, polygon, true_mask

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LMMS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("image", IMAGE),
        ("question", pa.string()),
        ("answer", pa.list_(pa.string())),
        ("segmentation", pa.list_(pa.float32())),
        ("bbox", pa.list_(pa.float32())),
        ("iscrowd", pa.int8()),
        ("file_name", pa.string()),
    ]
)
SENTENCE = pa.struct(
    [("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64()), ("tokens", pa.list_(pa.string()))]
)
JXU_SCHEMA = pa.schema(
    [
        ("sent_ids", pa.list_(pa.int64())),
        ("file_name", pa.string()),
        ("ann_id", pa.int64()),
        ("ref_id", pa.int64()),
        ("image_id", pa.int64()),
        ("split", pa.string()),
        ("sentences", pa.list_(SENTENCE)),
        ("category_id", pa.int64()),
        ("raw_anns", pa.string()),
        ("raw_image_info", pa.string()),
        ("raw_sentences", pa.string()),
        ("image_path", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("captions", pa.list_(pa.string())),
        ("global_image_id", pa.string()),
        ("anns_id", pa.string()),
    ]
)
SAMPLE = pa.struct(
    [
        ("id", pa.int64()),
        ("image_id", pa.int64()),
        ("category", pa.string()),
        ("supercategory", pa.string()),
        ("label", pa.string()),
        ("sentences", pa.list_(pa.string())),
        ("bbox", pa.list_(pa.float32())),
        ("mask", pa.struct([("counts", pa.string()), ("size", pa.list_(pa.int32()))])),
    ]
)
MOONDREAM_SCHEMA = pa.schema(
    [("image", IMAGE), ("image_id", pa.int64()), ("file_name", pa.string()), ("samples", pa.list_(SAMPLE))]
)


def _jpeg(image_id):
    file = io.BytesIO()
    picture(image_id).save(file, "jpeg", quality=95)
    return file.getvalue()


def _lmms_row(ann_id, answers):
    image_id, left, top, right, bottom, _ = BOXES[ann_id]
    return {
        "question_id": str(ann_id),
        "image": {"bytes": _jpeg(image_id), "path": f"{ann_id}.jpg"},
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": answers,
        "segmentation": polygon((left, top, right, bottom)),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "file_name": file_name(image_id).replace(".jpg", f"_{ann_id}.jpg"),
    }


def _jxu_row(ref_id, ann_id, split, sentences):
    image_id = BOXES[ann_id][0]
    structs = [
        {"raw": text, "sent": text, "sent_id": 10 * ref_id + place, "tokens": text.split()}
        for place, text in enumerate(sentences)
    ]
    return {
        "sent_ids": [item["sent_id"] for item in structs],
        "file_name": file_name(image_id).replace(".jpg", f"_{ref_id}.jpg"),
        "ann_id": ann_id,
        "ref_id": ref_id,
        "image_id": image_id,
        "split": split,
        "sentences": structs,
        "category_id": 1,
        "raw_anns": json.dumps(annotation(ann_id)),
        "raw_image_info": json.dumps(image_entry(image_id)),
        "raw_sentences": json.dumps(structs),
        "image_path": f"coco/train2014/{file_name(image_id)}",
        "bbox": annotation(ann_id)["bbox"],
        "captions": sentences,
        "global_image_id": f"coco.{image_id}",
        "anns_id": f"refcoco.{ann_id}",
    }


def _sample(ann_id, sentences):
    image_id = BOXES[ann_id][0]
    mask = encode_mask(true_mask(ann_id, image_id=image_id))
    return {
        "id": ann_id,
        "image_id": image_id,
        "category": "person",
        "supercategory": "person",
        "label": "person",
        "sentences": sentences,
        "bbox": annotation(ann_id)["bbox"],
        "mask": mask.as_coco(),
    }


def _write(tmp_path, rows, schema):
    path = str(tmp_path / "table.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def _read(path, **options):
    return list(read_hub_tables([path], {}, **options))


def _check_masks(image, ann_ids):
    image_id = BOXES[ann_ids[0]][0]
    for expression, ann_id in zip(image.expressions, ann_ids, strict=True):
        assert np.array_equal(decode_mask(expression.mask), true_mask(ann_id, image_id=image_id))


def test_lmms_lab(tmp_path):
    rows = [_lmms_row(101, ["man left", "guy"]), _lmms_row(102, ["dog"]), _lmms_row(103, ["woman"])]
    path = _write(tmp_path, rows, LMMS_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "lmms-lab"
    first, second = _read(path)
    assert (first.image_id, second.image_id) == ("COCO_train2014_000000000007", "COCO_train2014_000000000009")
    assert [(item.text, item.sentence_id) for item in first.expressions] == [
        ("man left", "101/0"),
        ("guy", "101/1"),
        ("dog", "102/0"),
    ]
    assert first.data == rows[0]["image"]["bytes"]
    _check_masks(first, [101, 101, 102])


@pytest.mark.parametrize("part", [polygon((5, 5, 12, 12)), []])
def test_lmms_lab_rows_whose_polygon_is_not_the_whole_object_have_no_truth(tmp_path, part):
    row = _lmms_row(101, ["man left"]) | {"segmentation": part}
    [image] = _read(_write(tmp_path, [row], LMMS_SCHEMA))
    assert image.expressions[0].mask is None


def test_jxu124(tmp_path):
    rows = [
        _jxu_row(1, 101, "val", ["man left", "guy"]),
        _jxu_row(2, 102, "val", ["dog"]),
        _jxu_row(3, 103, "testA", ["woman"]),
    ]
    path = _write(tmp_path, rows, JXU_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "jxu124"
    [image] = _read(path, split="val")
    assert (image.image_id, image.path, image.data) == ("7", file_name(7), None)
    assert [item.sentence_id for item in image.expressions] == ["10", "11", "20"]
    _check_masks(image, [101, 101, 102])
    assert [item.image_id for item in _read(path)] == ["7", "9"]


def test_moondream(tmp_path):
    row = {
        "image": {"bytes": _jpeg(7), "path": None},
        "image_id": 7,
        "file_name": file_name(7),
        "samples": [_sample(101, ["man left", "guy"]), _sample(102, ["dog"])],
    }
    path = _write(tmp_path, [row], MOONDREAM_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "moondream"
    [image] = _read(path)
    assert [item.kind for item in image.expressions] == ["person"] * 3
    _check_masks(image, [101, 101, 102])


def test_any_table_with_a_mask_column(tmp_path):
    png = io.BytesIO()
    picture(7).save(png, "png")
    mask = io.BytesIO()
    from PIL import Image

    Image.fromarray(true_mask(102, image_id=7)).save(mask, "png")
    row = {"picture": png.getvalue(), "text": "dog", "segment": {"bytes": mask.getvalue(), "path": None}}
    schema = pa.schema([("picture", pa.binary()), ("text", pa.string()), ("segment", IMAGE)])
    path = _write(tmp_path, [row], schema)
    [image] = _read(path, mask_column="segment", image_column="picture")
    _check_masks(image, [102])
    with pytest.raises(ValueError, match="--mask-column"):
        _read(path)
    with pytest.raises(ValueError, match="no such column"):
        _read(path, mask_column="masks")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": {"bytes": b"no image", "path": None}}, "row 0: image: not_an_image"),
        ({"segmentation": [1.0, 2.0, 3.0]}, "row 0: segmentation: mask: a polygon of 3 numbers"),
        ({"image": None}, "row 0: image: null"),
        ({"bbox": None}, "row 0: bbox: null"),
        ({"bbox": [1.0, 2.0]}, "row 0: bbox: a list instead of four"),
        ({"answer": None}, "row 0: answer: null"),
        ({"answer": [None]}, "row 0: answer: entry 0: null"),
        ({"file_name": None}, "row 0: file_name: null"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, change, reason):
    path = _write(tmp_path, [_lmms_row(101, ["man"]) | change], LMMS_SCHEMA)
    with pytest.raises(ValueError, match=reason):
        _read(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"raw_anns": "[" * 100_000}, "raw_anns: not JSON"),
        ({"raw_anns": "{}"}, "raw_anns: segmentation: mask: null"),
        ({"raw_image_info": '{"height": 1e999, "width": 3}'}, "raw_image_info: height: inf"),
        ({"sentences": None}, "sentences: null"),
        ({"image_path": None}, "image_path: null"),
    ],
)
def test_jxu124_rows_that_cannot_be_read_are_named(tmp_path, change, reason):
    path = _write(tmp_path, [_jxu_row(1, 101, "val", ["man"]), _jxu_row(2, 102, "val", ["dog"]) | change], JXU_SCHEMA)
    with pytest.raises(ValueError, match=rf"table\.parquet: row 1: {reason}"):
        _read(path)


def test_jxu124_reads_segmentations_as_the_original_files_are_read(tmp_path):
    segmentations = [], [[1, 1, 5, 5], polygon((1, 1, 3, 3))], [{"size": [40, 60], "counts": [0, 40, 2360]}]
    rows = [_jxu_row(1, 101, "val", ["man"]) | {"raw_anns": json.dumps({"segmentation": one})} for one in segmentations]
    [image] = _read(_write(tmp_path, rows, JXU_SCHEMA))
    assert [item.mask.area for item in image.expressions] == [0, 4, 40]


def test_a_split_that_is_not_there_is_named(tmp_path):
    path = _write(tmp_path, [_jxu_row(1, 101, "val", ["man"])], JXU_SCHEMA)
    with pytest.raises(ValueError, match="--split testA: no row of this split; there are 'val'"):
        _read(path, split="testA")


ANY_SCHEMA = pa.schema([("image", IMAGE), ("text", pa.list_(pa.binary())), ("mask", SAMPLE.field("mask").type)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"y" * 100_000, "100000 characters"), (b"\xff\xfe", "not valid UTF-8"), (None, "null")],
)
def test_phrases_that_cannot_be_asked_are_refused(tmp_path, text, reason):
    row = {"image": {"bytes": _jpeg(7), "path": None}, "text": [b"dog", text], "mask": _sample(102, [])["mask"]}
    path = _write(tmp_path, [row], ANY_SCHEMA)
    with pytest.raises(ValueError, match=rf"row 0: phrase: {reason}.* \(phrase 1\)"):
        _read(path, mask_column="mask")


def test_text_that_is_not_utf8_and_files_that_are_not_parquet_are_named(tmp_path):
    row = {"image": {"bytes": _jpeg(7), "path": None}, "text": [b"\xff\xfe"], "mask": _sample(102, [])["mask"]}
    table = pa.Table.from_pylist([row], schema=ANY_SCHEMA)
    texts = table["text"].combine_chunks()
    damaged = pa.StringArray.from_buffers(1, *texts.values.buffers()[1:])
    path = str(tmp_path / "table.parquet")
    pq.write_table(table.set_column(1, "text", damaged), path)
    with pytest.raises(ValueError, match=r"table\.parquet: row 0: text: not valid UTF-8"):
        _read(path, mask_column="mask")
    for content in (b"", b"hello" * 100):
        (tmp_path / "table.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"table\.parquet: not readable Parquet: it does not end"):
            _read(path, mask_column="mask")


def test_damaged_pages_are_told_with_the_file(tmp_path):
    path = _write(tmp_path, [_jxu_row(1, 101, "val", ["man"])], JXU_SCHEMA)
    content = bytearray((tmp_path / "table.parquet").read_bytes())
    start = pq.read_metadata(path).row_group(0).column(5).data_page_offset  # of `split`
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "table.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"table\.parquet: row 0 or one after it: corrupt Parquet data"):
        _read(path)
