"""What review tools handed back: files, folders and archives of any known format, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from litelvlm.pipeline.review.readers.coco import read_coco
from litelvlm.pipeline.review.readers.cvat_backup import read_cvat_backup, read_cvat_shapes
from litelvlm.pipeline.review.readers.cvat_xml import read_cvat_xml
from litelvlm.pipeline.review.readers.datumaro import read_datumaro
from litelvlm.pipeline.review.readers.detect import FORMATS, detect, is_companion
from litelvlm.pipeline.review.readers.documents import fault, read_json, read_xml
from litelvlm.pipeline.review.readers.fiftyone import read_fiftyone
from litelvlm.pipeline.review.readers.files import Document, documents
from litelvlm.pipeline.review.readers.label_studio import read_label_studio
from litelvlm.pipeline.review.reviewed import ReviewedImage

_READERS = {
    "label-studio": read_label_studio,
    "cvat-xml": read_cvat_xml,
    "coco": read_coco,
    "datumaro": read_datumaro,
    "fiftyone": read_fiftyone,
}


def read_reviews(
    paths: Sequence[str], format: str = "auto", *, options: Mapping[str, Any] | None = None
) -> Iterator[ReviewedImage]:
    """Every image of what review tools handed back, in the order of the paths and of the files' names.

    A path is a file, a folder with all below it, or a zip archive, here or in a store that `options` are for. `format`
    is one of `FORMATS`, or `auto`, by content. An image that stands in several files comes several times.

    Raises:
        ValueError: nothing is there, a file is of no known format or another one than `format`, or something in it is
            not what its format says: one line that names file, place and fault.
        StorageError: a store does not answer, or refuses.
    """
    if format not in ("auto", *FORMATS):
        raise ValueError(f"format: {format!r} is not known; expected auto or one of {', '.join(FORMATS)}")
    for path in paths:
        num_read = 0
        for document in documents(path, options or {}):
            reviews = _read(document, format)
            if reviews is not None:
                num_read += 1
                yield from reviews
        if not num_read:
            raise fault(path, f"holds no file of reviews; expected {_expected(format)}")


def _read(document: Document, format: str) -> Iterator[ReviewedImage] | None:
    """The images of a document; None for one that only lies beside those that are read."""
    is_beside = bool(document.siblings) and is_companion(document.name, document.siblings)
    if is_beside and document.name.lower().endswith(".jsonl"):
        return None
    content = _content(document)
    found = detect(content)
    if is_beside and found in (None, "coco"):
        return None
    if found is None or format not in ("auto", found):
        told = "is of no known format" if found is None else f"is {found}"
        raise fault(document.place, f"{told}; expected {_expected(format)}")
    if found == "cvat-backup":
        is_backup = isinstance(content, list)
        return read_cvat_backup(document, content) if is_backup else read_cvat_shapes(content, document.place)
    return _READERS[found](content, document.place)


def _content(document: Document) -> Any | Element:
    data = document.load()
    is_xml = document.name.lower().endswith(".xml") or data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
    return read_xml(data, document.place) if is_xml else read_json(data, document.place)


def _expected(format: str) -> str:
    return f"one of {', '.join(FORMATS)}" if format == "auto" else format
