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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litelvlm.evaluation.datasets.fields import field, id_field, shown, size_field, within
from litelvlm.evaluation.datasets.plain_pickle import load_plain
from litelvlm.evaluation.datasets.segmentation import read_segmentation
from litelvlm.evaluation.datasets.truth import Expression, TrueImage, union_of
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.table.rows import MAX_PHRASES

#: Data set -> who made its splits; `google` splits of RefCOCO and RefCOCOg exist, and no published table is about them.
DATASETS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "grefcoco": "unc"}
SPLITS = {
    "refcoco": ("train", "val", "testA", "testB"),
    "refcoco+": ("train", "val", "testA", "testB"),
    "refcocog": ("train", "val", "test"),
    "grefcoco": ("train", "val", "testA", "testB"),
}
_NO_TARGET = -1
# References of a pickle may share one long list, and a small file then stands for more than memory holds.
MAX_EXPRESSIONS = 2_000_000  # of a split


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
    path, content = _references(directory, DATASETS[dataset])
    by_image: dict[int, list[_Reference]] = defaultdict(list)
    expressions = 0
    for number, ref in enumerate(content):
        place = f"{path}: reference {number}"
        with within(place):
            if field(ref, "split", str) == split:
                found = _Reference.of(ref, place)
                by_image[field(ref, "image_id", int)].append(found)
                expressions += len(found.sentences)
            if expressions > MAX_EXPRESSIONS:
                raise ValueError(f"sentences: more than {MAX_EXPRESSIONS} in split {split}")
    instances = _Instances(directory / "instances.json", wanted=set(by_image))
    for image_id in sorted(by_image):
        yield instances.true_image(image_id, by_image[image_id], split)


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """What a reference means, and its expressions as text and id. `place` says where it stands."""

    place: str
    annotation_ids: tuple[int | str, ...]
    sentences: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, ref: dict[str, Any], place: str) -> _Reference:
        """Check an entry of the file. Raises ValueError naming the field."""
        given, sentences = ref.get("ann_id"), field(ref, "sentences", list)
        if len(sentences) > MAX_PHRASES or (isinstance(given, list) and len(given) > MAX_PHRASES):
            raise ValueError(f"ann_id, sentences: more than {MAX_PHRASES} in one reference")
        ids = tuple(id_field({"ann_id": one}, "ann_id") for one in (given if isinstance(given, list) else [given]))
        if not ids:
            raise ValueError(f"ann_id: an empty list; expected ids of annotations, or {_NO_TARGET} for no target")
        with within("sentences"):
            texts = tuple((field(one, "sent", str), str(field(one, "sent_id", int))) for one in sentences)
        return cls(place=place, annotation_ids=ids, sentences=texts)


class _Instances:
    """COCO's `instances.json`, as far as it concerns some images."""

    def __init__(self, path: Path, *, wanted: set[int]) -> None:
        content = _json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path}: not a COCO file of instances")
        self._path = path
        with within(str(path)):
            self._images = {item["id"]: item for item in _objects(content, "images") if item["id"] in wanted}
            annotations = _objects(content, "annotations", "image_id")
            self._annotations = {item["id"]: item for item in annotations if item["image_id"] in wanted}
            categories = _objects(content, "categories") if "categories" in content else []
            self._names = {item["id"]: field(item, "name", str) for item in categories}

    def true_image(self, image_id: int, refs: list[_Reference], split: str) -> TrueImage:
        """The image with the expressions of its references."""
        image = self._images.get(image_id)
        if image is None:
            raise ValueError(f"{self._path}: lacks image {shown(image_id)}, which {refs[0].place} names")
        with within(f"{self._path}: image {image_id}"):
            size_hw, name = size_field(image), field(image, "file_name", str)
        expressions = []
        for ref in refs:
            mask, kind = self._meant(ref, image_id, size_hw)
            expressions += [Expression(text=text, mask=mask, sentence_id=one, kind=kind) for text, one in ref.sentences]
        return TrueImage(image_id=str(image_id), path=name, data=None, expressions=tuple(expressions), split=split)

    def _meant(self, ref: _Reference, image_id: int, size_hw: tuple[int, int]) -> tuple[EncodedMask, str | None]:
        """The union of the objects that a reference means, and what they are."""
        if ref.annotation_ids == (_NO_TARGET,):
            return union_of([], size_hw), "no target"
        masks, kinds = [], set()
        for annotation_id in ref.annotation_ids:
            annotation = self._annotations.get(annotation_id)
            if annotation is None or annotation["image_id"] != image_id:
                raise ValueError(
                    f"{self._path}: has no annotation {shown(annotation_id)} on image {image_id}, which {ref.place} "
                    "names; are the files of one release?"
                )
            with within(f"{self._path}: annotation {shown(annotation_id)}"):
                kinds.add(str(self._names.get(id_field(annotation, "category_id"))))
                masks.append(read_segmentation(annotation.get("segmentation"), size_hw))
        return union_of(masks, size_hw), kinds.pop() if len(kinds) == 1 else "several"


def _references(directory: Path, split_by: str) -> tuple[Path, list[dict[str, Any]]]:
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
    return path, content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({type(error).__name__})") from error


def _objects(content: dict[str, Any], name: str, *ids: str) -> list[dict[str, Any]]:
    """The list `content[name]` of objects whose `id`, and all of `ids`, are ids."""
    found = content.get(name)
    if not isinstance(found, list):
        raise ValueError(f"has no list of {name}")
    for number, item in enumerate(found):
        with within(f"{name}: entry {number}"):
            for each in ("id", *ids):
                id_field(item, each)
    return found
