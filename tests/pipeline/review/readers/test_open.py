"""Whole files of every tool: each format by its content, from files, folders and archives, and damaged in every way."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.review.readers import files
from litelvlm.pipeline.review.readers.detect import FORMATS
from litelvlm.pipeline.review.readers.open import read_reviews
from litelvlm.pipeline.review.reviewed import ReviewedImage
from tests.fuzz.attempt import attempt
from tests.fuzz.mutate import mutated
from tests.fuzz.profiles import fuzz
from tests.pipeline.review.readers import written
from tests.pipeline.review.readers.written import KEYS, NAME, SIZE, masks, zipped

FOUND = masks()
FILES = written.files(FOUND)
SMALL = written.files([FOUND[0], FOUND[2]])


def _read(folder: Path, name: str, data: bytes, format: str = "auto") -> list[ReviewedImage]:
    path = folder / name
    path.write_bytes(data)
    return list(read_reviews([str(path)], format))


@pytest.mark.parametrize("kind", FILES)
def test_masks_come_back_to_the_pixel(tmp_path: Path, kind: str) -> None:
    image, *others = _read(tmp_path, *FILES[kind])
    assert image.file_name.endswith(NAME)
    assert image.size_hw == SIZE
    (review,) = image.reviews
    assert len(review.regions) == len(FOUND)
    for index, (region, mask) in enumerate(zip(review.regions, FOUND, strict=True)):
        assert (decode_mask(region.mask) == mask).all()
        assert region.mask.area == mask.sum()
        assert (region.record, region.score, region.is_lossy) == (KEYS[index], 0.5, False)
        assert region.phrase == (f"phrase {index}" if kind != "label-studio" or not index else None)
        assert region.label == (f"phrase {index}" if kind == "label-studio" else "thing")
        assert region.said == (None if kind == "label-studio" else "accepted")
    assert [one.reviews[0].regions for one in others] == ([()] if kind == "cvat-backup" else [])
    assert str(tmp_path) in image.place


@pytest.mark.parametrize("kind", FILES)
def test_formats_are_told_or_found(tmp_path: Path, kind: str) -> None:
    own = "cvat-backup" if kind == "cvat-shapes" else kind
    assert len(_read(tmp_path, *FILES[kind], own)) == len(_read(tmp_path, *FILES[kind]))
    for other in set(FORMATS) - {own}:
        with pytest.raises(ValueError, match=rf"is {own}; expected {other}$"):
            _read(tmp_path, *FILES[kind], other)


def test_folders_and_archives_hold_several(tmp_path: Path) -> None:
    (tmp_path / "all/sub").mkdir(parents=True)
    for kind, (name, data) in FILES.items():
        (tmp_path / "all/sub" / f"{kind}-{name}").write_bytes(data)
    for name, data in written.cvat_backup(FOUND).items():
        target = tmp_path / "all/unpacked" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    for name in ("metadata.json", "labels.json", "._export.json"):
        (tmp_path / "all" / name).write_bytes(b"[{}]")
    (tmp_path / "all/photo.jpg").write_bytes(b"\xff\xd8")
    members = {f"task_{kind}/{name}": data for kind, (name, data) in FILES.items() if not name.endswith(".zip")}
    (tmp_path / "z.bin").write_bytes(zipped({**members, "images/a.png": b"x" * 1000}))
    found = list(read_reviews([str(tmp_path / "all"), str(tmp_path / "z.bin")]))
    assert len(found) == 2 * len(FILES) + 2
    assert [one.place for one in found[:8]] == sorted(one.place for one in found[:8])
    assert {len(one.reviews[0].regions) for one in found} == {len(FOUND), 0}


def test_a_project_backup_has_a_folder_for_each_task(tmp_path: Path) -> None:
    members = {f"task_{n}/{name}": data for n in (0, 1) for name, data in written.cvat_backup(FOUND[:n]).items()}
    found = _read(tmp_path, "project.zip", zipped({"project.json": b"{}", **members}))
    assert [len(one.reviews[0].regions) for one in found] == [0, 0, 1, 0]


def test_a_part_each_is_read_in_order(tmp_path: Path) -> None:
    for part in (2, 1, 3):
        content = written.coco(FOUND[:part])
        (tmp_path / f"part-{part}.json").write_text(json.dumps(content))
    assert [len(one.reviews[0].regions) for one in read_reviews([str(tmp_path)])] == [1, 2, 3]


def test_files_of_other_tasks_reject_nothing(tmp_path: Path) -> None:
    """Datumaro's `coco` writes the images of its instances again, without any."""
    for name, found in (("instances", FOUND), ("image_info", []), ("labels", []), ("person_keypoints", FOUND)):
        (tmp_path / f"{name}_default.json").write_text(json.dumps(written.coco(found)))
    assert [len(one.reviews[0].regions) for one in read_reviews([str(tmp_path)])] == [len(FOUND)]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.json", b'{"a": 1}', r"x\.json: is of no known format; expected one of label-studio"),
        ("x.json", b"[1]", "no known format"),
        ("x.json", b"", "no JSON"),
        ("x.json", b"[" * 200_000, "too deep"),
        ("x.json", b'{"a": ' * 200_000, "too deep"),
        ("x.json", b'{"images": [NaN]}', "NaN"),
        ("x.json", b"\xff\xfe", "no JSON"),
        ("metadata.json", b"{}", "no known format"),
        ("x.xml", b"<a/>", "no known format"),
        ("x.xml", b"<a>", "no XML"),
        ("x.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE"),
        ("x.xml", "<!DOCTYPE a><annotations/>".encode("utf-16"), "another encoding"),
        ("x.xml", b'<?xml version="1.0" encoding="utf-7"?><annotations>\xff</annotations>', "no XML"),
        ("x.zip", b"PK\x03\x04", "no zip"),
        ("x.zip", zipped({}), "no zip archive"),
        ("x.zip", zipped({"a.txt": b""}), "no file of reviews"),
        ("x.zip", zipped({"../../etc/a.json": b"{}"}), r"etc/a\.json: is of no known format"),
        ("x.zip", zipped({"annotations.json": b'[{"shapes": []}]'}), r"has no task\.json beside it"),
        ("annotations.json", b'[{"shapes": []}]', r"has no task\.json beside it"),
    ],
)
def test_what_is_not_known_is_refused_in_a_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _read(tmp_path, name, data)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_and_formats_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is there"):
        list(read_reviews([str(tmp_path / "none")]))
    with pytest.raises(ValueError, match="no file of reviews"):
        list(read_reviews([str(tmp_path)]))
    with pytest.raises(ValueError, match="'yolo' is not known"):
        list(read_reviews([str(tmp_path)], "yolo"))


def test_an_archive_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(files._Archive.__init__, "__defaults__", (1 << 20,))
    half = json.dumps({"images": [], "annotations": [], "x": " " * 700_000}).encode()
    assert _read(tmp_path, "one.zip", zipped({"a.json": half})) == []
    with pytest.raises(ValueError, match=r"b\.json: the archive's documents are larger than 1 MiB together"):
        _read(tmp_path, "two.zip", zipped({"a.json": half, "b.json": half}))
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        _read(tmp_path, "one.json", half * 2)


def test_an_archive_that_lies_or_is_encrypted(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.json": b"[]" * 50}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ValueError, match="damaged or encrypted"):
        _read(tmp_path, "secret.zip", bytes(data))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.json", b"[]" * 50)
    whole = stream.getvalue()
    with pytest.raises(ValueError, match="damaged or encrypted"):
        _read(tmp_path, "lzma.zip", whole[:45] + b"\xff" * 8 + whole[53:])


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    name, data = SMALL[kind]
    path = tmp_path / name

    @fuzz(40)
    @given(mutated([data, *(other for _, other in SMALL.values())] if kind == "coco" else [data]))
    def check(damaged: bytes) -> None:
        path.write_bytes(damaged)
        found, error = attempt(ValueError, lambda: list(read_reviews([str(path)])))
        _assert_sound(found, error)

    check()


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        2,
        1.5,
        1e308,
        10**30,
        2**53,
        "",
        "x",
        "1",
        "\ud800",
        "\n",
        [],
        [[]],
        {},
        [None],
        [1, 2],
        {"": 0},
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind, (name, _) in SMALL.items() if name.endswith(".json")])
def test_values_of_the_wrong_kind_are_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    name, data = SMALL[kind]
    path = tmp_path / name

    @fuzz(40)
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        content = json.loads(data)
        for _ in range(draw.draw(st.integers(1, 3))):
            _replace(content, draw)
        path.write_text(json.dumps(content))
        found, error = attempt(ValueError, lambda: list(read_reviews([str(path)])))
        _assert_sound(found, error)

    check()


def _replace(node: Any, draw: st.DataObject) -> None:
    """Another value at a random place, or none."""
    while True:
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            return
        key = draw.draw(st.sampled_from(keys))
        below = node[key]
        if not isinstance(below, dict | list) or not below or draw.draw(st.integers(0, 4)) == 0:
            if draw.draw(st.booleans()):
                node[key] = copy.deepcopy(draw.draw(VALUES))
            else:
                del node[key]
            return
        node = below


def _assert_sound(found: list[ReviewedImage] | None, error: ValueError | None) -> None:
    if error is not None:
        assert "\n" not in str(error)
        assert len(str(error)) <= 1000
        str(error).encode()
    for image in found or ():
        assert image.file_name.encode()
        for region in (region for review in image.reviews for region in review.regions):
            assert region.mask.area == np.count_nonzero(decode_mask(region.mask)) > 0
            assert image.size_hw in (None, region.mask.size_hw)
