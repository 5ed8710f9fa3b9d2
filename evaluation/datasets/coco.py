"""COCO instances as true masks: a run's labels after review, or anybody's, a phrase an expression.

An annotation's phrase is its attribute `phrase`, which this project's files have, else the name of its category. An
image's annotations of one phrase are one expression, whose mask is their union.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from litelvlm.evaluation.datasets.fields import shown
from litelvlm.evaluation.datasets.segmentation import read_segmentation
from litelvlm.evaluation.datasets.truth import Expression, TrueImage, union_of
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.storage.filesystems import filesystem_for, read_whole


def read_coco(paths: Sequence[str], options: dict[str, Any]) -> Iterator[TrueImage]:
    """The images of COCO files, in their order; those without an annotation are left out. A file at a time is held.

    Raises ValueError naming the file, and the image or annotation, that is not as COCO has it.
    """
    for path in paths:
        fs, bare = filesystem_for(path, options)
        try:
            content = json.loads(read_whole(fs, bare))
            images, annotations, categories = (
                _objects(content, name) for name in ("images", "annotations", "categories")
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: is no COCO file of instances: {error}") from error
        names = {one.get("id"): one.get("name") for one in categories}
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for one in annotations:
            by_image[one.get("image_id")].append(one)
        for image in images:
            if found := by_image.get(image.get("id")):
                yield _image(image, found, names, path)


def _objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} is {shown(found)}, expected a list of objects")
    return found


def _image(image: dict[str, Any], annotations: list[dict[str, Any]], names: dict[Any, Any], path: str) -> TrueImage:
    where = f"{path}: image {shown(image.get('id'))}"
    file_name, size = image.get("file_name"), (image.get("height"), image.get("width"))
    if not isinstance(file_name, str) or not file_name:
        raise ValueError(f"{where}: has no file_name")
    height, width = size
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        raise ValueError(f"{where}: has no height and width in pixels")
    by_phrase: dict[str, list[EncodedMask]] = defaultdict(list)
    for one in annotations:
        place = f"{where}, annotation {shown(one.get('id'))}"
        try:
            by_phrase[_phrase(one, names)].append(read_segmentation(one.get("segmentation"), (height, width)))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    return TrueImage(
        image_id=str(image["id"] if image.get("source_id") is None else image["source_id"]),
        path=file_name,
        data=None,
        expressions=tuple(
            Expression(text=phrase, mask=union_of(masks, (height, width))) for phrase, masks in by_phrase.items()
        ),
    )


def _phrase(annotation: dict[str, Any], names: dict[Any, Any]) -> str:
    attributes = annotation.get("attributes")
    phrase = attributes.get("phrase") if isinstance(attributes, dict) else None
    phrase = phrase or names.get(annotation.get("category_id"))
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError("has neither a phrase nor a category with a name")
    return phrase
