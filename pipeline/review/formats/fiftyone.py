"""FiftyOne: a data set on disk as it writes one itself, with the pixels of every mask."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections import Counter
from typing import Any

import numpy as np

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.ontology import Category

#: Of `FiftyOneDataset` directories; newer FiftyOnes bring older versions up to date, older ones refuse newer versions.
VERSION = "1.0.0"
FIELD = "predictions"
_EPOCH = {"$date": "1970-01-01T00:00:00Z"}
_CORE = "fiftyone.core"


class FiftyOne(Format):
    """`metadata.json`, `samples.json` and, on request, `data/`: what `Dataset.from_dir` takes as `FiftyOneDataset`.

    Each of several parts is such a directory, to be joined with `Dataset.add_dir`. Masks are detections in the field
    `predictions`, with their class as label, their score as confidence, and phrase, record and status; phrases without
    a mask are in `unmasked_phrases`, with `unmasked_records` and `unmasked_statuses` beside them.

    Parameters:
        is_alone: whether there is one part only, which then needs no directory of its own.
    """

    def __init__(
        self,
        classes: tuple[Category, ...],
        *,
        tolerance: float = 0.0,
        with_images: bool = False,
        is_alone: bool = True,
    ) -> None:
        super().__init__(classes, tolerance=tolerance, with_images=with_images)
        self.is_alone = is_alone

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        folder = "" if self.is_alone else f"{part}/"
        samples = []
        for image in images:
            samples.append(_encode(self._sample(image)))
            if image.data is not None:
                files.write(f"{folder}{_data_name(image)}", image.data)
        files.write(f"{folder}samples.json", b'{"samples":[' + b",\n".join(samples) + b"]}\n")
        files.write(f"{folder}metadata.json", _encode(_metadata()) + b"\n")
        return Counter()

    def _sample(self, image: MaskedImage) -> dict[str, Any]:
        detections = [self._detection(image, one) for one in image.objects]
        return {
            "_id": _object_id("sample", image.source_id, image.file_name),
            "filepath": _file_path(image),
            "tags": [],
            "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
            "_media_type": "image",
            "_rand": int(hashlib.sha256(image.source_id.encode()).hexdigest()[:8], 16) / 2**32,
            "created_at": _EPOCH,
            "last_modified_at": _EPOCH,
            "source_id": image.source_id,
            "file_name": image.file_name,
            "image_url": image.url,
            "unmasked_phrases": [one.phrase for one in image.unmasked],
            "unmasked_records": [one.record for one in image.unmasked],
            "unmasked_statuses": [one.status for one in image.unmasked],
            FIELD: {"_cls": "Detections", "detections": detections},
        }

    def _detection(self, image: MaskedImage, one: MaskedObject) -> dict[str, Any]:
        left, top, width, height = map(int, one.mask.bbox_xywh)
        crop = decode_mask(one.mask)[top : top + height, left : left + width]
        return {
            "_id": _object_id("detection", image.source_id, image.file_name, one.record, str(one.id)),
            "_cls": "Detection",
            "attributes": {},
            "tags": [],
            "label": self.classes[one.class_index].name,
            "bounding_box": [left / image.width, top / image.height, width / image.width, height / image.height],
            "mask": {"$binary": {"base64": _packed(crop), "subType": "00"}},
            "confidence": one.score,
            "phrase": one.phrase,
            "record": one.record,
            "status": "ok",
        }


def _data_name(image: MaskedImage) -> str:
    return f"data/{image.file_name}"


def _file_path(image: MaskedImage) -> str:
    """Where FiftyOne looks for an image: in the directory of the export unless a path is absolute. It opens no URLs."""
    if image.data is None and image.url is not None and image.url.startswith("/"):
        return image.url
    return _data_name(image)


def _object_id(*parts: str) -> dict[str, str]:
    """As MongoDB has ids, the same for the same item in every export."""
    return {"$oid": hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]}


def _packed(mask: np.ndarray) -> str:
    """An (h, w) bool mask as FiftyOne stores arrays: base64 of zlib of numpy's own format."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(mask), allow_pickle=False)
    return base64.b64encode(zlib.compress(stream.getvalue())).decode("ascii")


def _metadata() -> dict[str, Any]:
    texts, floats = f"{_CORE}.fields.StringField", f"{_CORE}.fields.FloatField"
    size = [_field(name, f"{_CORE}.fields.IntField") for name in ("size_bytes", "width", "height", "num_channels")]
    detection = [
        _field("id", f"{_CORE}.fields.ObjectIdField", db_field="_id"),
        *(_field(name, texts) for name in ("label", "phrase", "record", "status", "mask_path")),
        _field("confidence", floats),
        _field("index", f"{_CORE}.fields.IntField"),
        _field("mask", f"{_CORE}.fields.ArrayField"),
        _field("tags", f"{_CORE}.fields.ListField", subfield=texts),
        _field("bounding_box", f"{_CORE}.fields.ListField", subfield=floats),
        _embedded("attributes", f"{_CORE}.labels.Attribute", [], ftype="DictField"),
    ]
    fields = [
        _field("id", f"{_CORE}.fields.ObjectIdField", db_field="_id"),
        *(_field(name, texts) for name in ("filepath", "source_id", "file_name", "image_url")),
        *(_field(name, f"{_CORE}.fields.DateTimeField", read_only=True) for name in ("created_at", "last_modified_at")),
        *(
            _field(name, f"{_CORE}.fields.ListField", subfield=texts)
            for name in ("tags", "unmasked_phrases", "unmasked_records", "unmasked_statuses")
        ),
        _embedded("metadata", f"{_CORE}.metadata.ImageMetadata", [*size, _field("mime_type", texts)]),
        _embedded(
            FIELD, f"{_CORE}.labels.Detections", [_embedded_list("detections", f"{_CORE}.labels.Detection", detection)]
        ),
    ]
    return {"name": "litelvlm", "version": VERSION, "media_type": "image", "sample_fields": fields, "frame_fields": []}


def _field(
    name: str,
    ftype: str,
    *,
    subfield: str | None = None,
    embedded: str | None = None,
    fields: list[dict[str, Any]] | None = None,
    db_field: str | None = None,
    read_only: bool = False,
) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": ftype,
        "embedded_doc_type": embedded,
        "subfield": subfield,
        "fields": fields or [],
        "db_field": db_field or name,
        "description": None,
        "info": None,
        "read_only": read_only,
        "created_at": None,
    }


def _embedded(
    name: str, kind: str, fields: list[dict[str, Any]], *, ftype: str = "EmbeddedDocumentField"
) -> dict[str, Any]:
    if ftype == "DictField":
        subfield = f"{_CORE}.fields.EmbeddedDocumentField"
        return _field(name, f"{_CORE}.fields.{ftype}", subfield=subfield, embedded=kind, fields=fields)
    return _field(name, f"{_CORE}.fields.{ftype}", embedded=kind, fields=fields)


def _embedded_list(name: str, kind: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    subfield = f"{_CORE}.fields.EmbeddedDocumentField"
    return _field(name, f"{_CORE}.fields.ListField", subfield=subfield, embedded=kind, fields=fields)


def _encode(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
