"""Every way to write a mask in a cell gives the same mask; what is damaged or hostile gives a ValueError, quickly."""

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.table.true_masks import parse_mask, parse_masks

SIZE_HW = (9, 13)
BLOCK = np.zeros(SIZE_HW, bool)
BLOCK[2:6, 3:10] = True
TRUTH = encode_mask(BLOCK)
POLYGON = [3.0, 2.0, 10.0, 2.0, 10.0, 6.0, 3.0, 6.0]


def _runs(mask: Any) -> Any:
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def _png(image: Any) -> Any:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


GREY = Image.fromarray(BLOCK.astype(np.uint8) * 255)
CELLS = {
    "compressed": {"size": list(SIZE_HW), "counts": TRUTH.counts},
    "compressed, bytes": {"size": list(SIZE_HW), "counts": TRUTH.counts.encode()},
    "uncompressed": {"size": list(SIZE_HW), "counts": _runs(BLOCK)},
    "uncompressed, with empty runs": {"size": list(SIZE_HW), "counts": [0, 0, *_runs(BLOCK), 0]},
    "counts": TRUTH.counts,
    "counts, bytes": TRUTH.counts.encode(),
    "polygons": [POLYGON],
    "two polygons that overlap": [POLYGON, [3.0, 2.0, 6.0, 2.0, 6.0, 6.0, 3.0, 6.0]],
    "one polygon": POLYGON,
    "polygon, JSON": json.dumps([POLYGON]),
    "run lengths, JSON": json.dumps({"size": SIZE_HW, "counts": TRUTH.counts}),
    "PNG": _png(GREY),
    "PNG, one bit": _png(GREY.convert("1")),
    "PNG, 0 and 1": _png(Image.fromarray(BLOCK.astype(np.uint8))),
    "PNG, RGB": _png(GREY.convert("RGB")),
    "Hugging Face image": {"bytes": _png(GREY), "path": None},
}


@pytest.mark.parametrize("name", CELLS)
def test_every_form_gives_the_same_mask(name: Any) -> None:
    assert parse_mask(CELLS[name], SIZE_HW) == TRUTH


@pytest.mark.parametrize("name", ["compressed", "uncompressed", "polygons", "PNG", "Hugging Face image"])
def test_forms_survive_parquet(name: str) -> None:
    cell = pa.array([CELLS[name]])[0].as_py()
    assert parse_mask(cell, SIZE_HW) == TRUTH


@pytest.mark.parametrize("cell", [None, "null", {"counts": None, "size": None}, {"bytes": None, "path": None}])
def test_null_means_that_the_truth_is_not_known(cell: Any) -> None:
    assert parse_mask(cell, SIZE_HW) is None


@pytest.mark.parametrize("cell", [{"size": [9, 13], "counts": [117]}, _png(Image.new("L", (13, 9)))])
def test_an_empty_mask_says_that_nothing_is_there(cell: Any) -> None:
    mask = parse_mask(cell, SIZE_HW)
    assert mask is not None
    assert mask.area == 0


def test_polygons_are_filled_as_pycocotools_fills_them() -> None:
    polygon = [1.3, 0.2, 11.7, 3.1, 8.4, 8.9, 2.2, 7.7, 0.4, 3.3]
    expected = coco_mask.decode(coco_mask.frPyObjects([polygon], *SIZE_HW))[..., 0].astype(bool)
    assert np.array_equal(decode_mask(parse_mask([polygon], SIZE_HW)), expected)


def test_one_mask_for_all_phrases_or_one_for_each() -> None:
    other = encode_mask(~BLOCK)
    each = [CELLS["compressed"], None, {"size": list(SIZE_HW), "counts": other.counts}]
    assert parse_masks(CELLS["polygons"], SIZE_HW, 3) == [TRUTH] * 3
    assert parse_masks(each, SIZE_HW, 3) == [TRUTH, None, other]
    assert parse_masks([[POLYGON], [POLYGON]], SIZE_HW, 2) == [TRUTH] * 2
    assert parse_masks(None, SIZE_HW, 2) == [None, None]
    with pytest.raises(ValueError, match="3 masks for 2 phrases"):
        parse_masks(each, SIZE_HW, 2)


def _compressed(counts: Any) -> Any:
    return {"size": list(SIZE_HW), "counts": counts}


REFUSED = {
    "another size": ({"size": [13, 9], "counts": TRUTH.counts}, "size"),
    "a size of text": ({"size": "9x13", "counts": TRUTH.counts}, "size"),
    "no size": ({"counts": TRUTH.counts}, "size"),
    "runs too short": (_compressed([5, 5]), "fill"),
    "runs too long": (_compressed([100, 100]), "fill"),
    "negative runs": (_compressed([120, -3]), "fill"),
    "fractions": (_compressed([116.5, 0.5]), "fill"),
    "not finite": (_compressed([float("nan"), 117]), "finite"),
    "text among runs": (_compressed([117, "x"]), "numbers"),
    "a run beyond floats": (_compressed([10**400]), "numbers"),
    "many runs": (_compressed([0] * 10_000), "too many"),
    "counts cut short": (_compressed(TRUTH.counts[:-1] + "o"), "run-length"),
    "counts of a number": (_compressed(3.0), "counts"),
    "counts without end": (_compressed("0" * 10_000_000), "characters"),
    "empty counts": (_compressed(""), "run-length"),
    "a huge run": (_compressed("ooooooO"), "fill|range"),
    "odd characters": ("not run lengths \u2603", "run-length"),
    "unknown struct": ({"a": 1, "b": 2}, "struct"),
    "a number": (7, "int"),
    "no polygons": ([], "polygons"),
    "a polygon of two points": ([[1, 2, 3, 4]], "polygon"),
    "an odd polygon": ([[1, 2, 3, 4, 5, 6, 7]], "polygon"),
    "a polygon of text": ([["1", "a", "3", "4", "5", "6"]], "numbers"),
    "a polygon far away": ([[0, 0, 1e9, 0, 1e9, 1e9]], "further"),
    "a polygon with much outline": ([[0, 0, 9, 13] * 400_000], "outline"),
    "deep JSON": ("[" * 100_000 + "]" * 100_000, "JSON"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(20), "jpeg"),
    "a cut PNG": (_png(GREY)[:60], "png"),
    "a PNG of another size": (_png(GREY.resize((5, 4))), "size"),
    "a larger PNG": (_png(GREY.resize((2000, 2000))), "too_many_pixels"),
    "a transparent PNG": (_png(Image.new("RGBA", (13, 9), (0, 0, 0, 0))), "more than plain"),
    "a PNG of 16 bits": (_png(Image.fromarray(BLOCK.astype(np.uint16))), "more than plain"),
    "a path alone": ({"bytes": None, "path": "/etc/passwd"}, "not fetched"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(name: Any) -> None:
    cell, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason) as caught:
        parse_mask(cell, SIZE_HW)
    assert str(caught.value).startswith("mask: ")
    assert len(str(caught.value)) < 400


def test_run_lengths_whose_sum_wraps_around_are_refused() -> None:
    runs = [117, 2**34, *[2**34, 2**34] * 40]
    with pytest.raises(ValueError, match=r"fill|range|characters"):
        parse_mask(_compressed(_as_counts(runs)), SIZE_HW)


def _as_counts(runs: Any) -> Any:
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != -1 if code & 0x10 else value != 0
            text += chr((code | (0x20 if more else 0)) + 48)
    return text


CELL_LEAVES = st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=20)
ANY_CELL = st.recursive(
    CELL_LEAVES,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["size", "counts", "bytes"]), inner),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(ANY_CELL, st.integers(0, 3))
def test_any_cell_gives_masks_or_a_reason(cell: Any, num_phrases: Any) -> None:
    try:
        masks = parse_masks(cell, SIZE_HW, num_phrases)
    except ValueError:
        return
    assert len(masks) == num_phrases
    assert all(mask is None or decode_mask(mask).shape == SIZE_HW for mask in masks)
