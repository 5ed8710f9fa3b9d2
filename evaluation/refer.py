"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO in their original form, as `refer` and `gRefCOCO` distribute them.

    <root>/refcoco/refs(unc).p   <root>/refcoco/instances.json      splits train val testA testB
    <root>/refcoco+/refs(unc).p  …                                  splits train val testA testB
    <root>/refcocog/refs(umd).p  …                                  splits train val test
    <root>/grefcoco/grefs(unc).json  <root>/grefcoco/instances.json splits train val testA testB

The layout and the meaning of the fields are those that `refer.py` (lichengunc/refer) and `grefer.py`
(henghuiding/ReLA) read. In gRefCOCO `ann_id` is a list: several objects are meant together, `[-1]` means none.
Images are COCO's train2014, named by `instances.json`. Both files are read whole; of the annotations, those of the
split's images are kept.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluation.plain_pickle import load_plain
from evaluation.truth import Expression, TrueImage, union_of
from pipeline.ground_truth import parse_mask
from pipeline.masks import EncodedMask

#: Data set -> who made its splits; `google` splits of RefCOCO and RefCOCOg exist, and no published table is about them.
DATASETS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "grefcoco": "unc"}
SPLITS = {
    "refcoco": ("train", "val", "testA", "testB"),
    "refcoco+": ("train", "val", "testA", "testB"),
    "refcocog": ("train", "val", "test"),
    "grefcoco": ("train", "val", "testA", "testB"),
}
_NO_TARGET = -1


def read_refer(root: str | Path, dataset: str, split: str) -> Iterator[TrueImage]:
    """Images of a split with all their expressions, by ascending image id, expressions in the order of the file.

    Raises:
        ValueError, FileNotFoundError: an unknown data set or split, missing or damaged files, or a reference to an
            annotation or image that `instances.json` does not hold.
    """
    if dataset not in DATASETS:
        raise ValueError(f"data set {dataset!r} is not known; choose one of {', '.join(DATASETS)}")
    if split not in SPLITS[dataset]:
        raise ValueError(f"split {split!r} is none of {dataset}'s: {', '.join(SPLITS[dataset])}")
    directory = Path(root) / dataset
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for ref in _references(directory, DATASETS[dataset]):
        if _field(ref, "split", str) == split:
            by_image[_field(ref, "image_id", int)].append(ref)
    instances = _Instances(directory / "instances.json", wanted=set(by_image))
    for image_id in sorted(by_image):
        yield instances.true_image(image_id, by_image[image_id], split)


class _Instances:
    """COCO's `instances.json`, as far as it concerns some images."""

    def __init__(self, path: Path, *, wanted: set[int]) -> None:
        content = _json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path}: not a COCO file of instances")
        self._path = path
        self._images = {item["id"]: item for item in _objects(content, "images", path) if item.get("id") in wanted}
        annotations = _objects(content, "annotations", path)
        self._annotations = {item["id"]: item for item in annotations if item.get("image_id") in wanted}
        self._names = {item.get("id"): item.get("name") for item in content.get("categories", ())}

    def true_image(self, image_id: int, refs: list[dict[str, Any]], split: str) -> TrueImage:
        """The image with the expressions of its references."""
        image = self._images.get(image_id)
        if image is None:
            raise ValueError(f"{self._path}: lacks image {image_id}, which the references name")
        size_hw = _field(image, "height", int), _field(image, "width", int)
        expressions = []
        for ref in refs:
            mask, kind = self._meant(ref, image_id, size_hw)
            for sentence in _field(ref, "sentences", list):
                text, number = _field(sentence, "sent", str), _field(sentence, "sent_id", int)
                expressions.append(Expression(text=text, mask=mask, sentence_id=str(number), kind=kind))
        name = _field(image, "file_name", str)
        return TrueImage(image_id=str(image_id), path=name, data=None, expressions=tuple(expressions), split=split)

    def _meant(self, ref: dict[str, Any], image_id: int, size_hw: tuple[int, int]) -> tuple[EncodedMask, str | None]:
        """The union of the objects that a reference means, and what they are."""
        given = ref.get("ann_id")
        ids = given if isinstance(given, list) else [given]
        if ids == [_NO_TARGET]:
            return union_of([], size_hw), "no target"
        masks, kinds = [], set()
        for annotation_id in ids:
            annotation = self._annotations.get(annotation_id)
            if annotation is None or annotation.get("image_id") != image_id:
                raise ValueError(
                    f"{self._path}: has no annotation {annotation_id} on image {image_id}, which reference "
                    f"{ref.get('ref_id')} names; are the files of one release?"
                )
            kinds.add(str(self._names.get(annotation.get("category_id"))))
            try:
                masks.append(_mask(annotation.get("segmentation"), size_hw))
            except ValueError as error:
                raise ValueError(f"{self._path}: annotation {annotation_id}: {error}") from error
        return union_of(masks, size_hw), kinds.pop() if len(kinds) == 1 else "several"


def _mask(segmentation: Any, size_hw: tuple[int, int]) -> EncodedMask:
    """As the release reads it: polygons are joined, an annotation without any is a mask without pixels.

    Polygons of two points, of which COCO has a few, have no inside and are left out.
    """
    if isinstance(segmentation, list):
        segmentation = [part for part in segmentation if isinstance(part, list) and len(part) >= 6]
    mask = parse_mask(segmentation, size_hw) if segmentation else union_of([], size_hw)
    if mask is None:
        raise ValueError("mask: null")
    return mask


def _references(directory: Path, split_by: str) -> list[dict[str, Any]]:
    candidates = [directory / f"{stem}({split_by}){suffix}" for stem in ("refs", "grefs") for suffix in (".p", ".json")]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        names = ", ".join(candidate.name for candidate in candidates)
        raise FileNotFoundError(f"{directory}: holds none of {names}")
    try:
        content = load_plain(path.read_bytes()) if path.suffix == ".p" else _json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path.suffix == ".p" else str(error)) from error
    if not isinstance(content, list) or not all(isinstance(ref, dict) for ref in content):
        raise ValueError(f"{path}: not a list of references")
    return content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({type(error).__name__})") from error


def _objects(content: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) and "id" in item for item in found):
        raise ValueError(f"{path}: has no list of {name} with ids")
    return found


def _field(item: Any, name: str, kind: type) -> Any:
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"a reference or image without a proper {name!r}: {str(item)[:160]}")
    return value
