"""A folder that `datasets.load_dataset` opens: Parquet with the library's types in its metadata, masks as images."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.masks import EncodedMask, decode_mask

_GROUP_BYTES, _GROUP_ROWS = 64 << 20, 500
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class HubDataset(Format):
    """`data/<part>.parquet`, a row an image, and a card, `README.md`."""

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        schema = self._schema()
        with files.storage.open_write(f"data/{part}.parquet") as stream:
            writer = pq.ParquetWriter(stream, schema, compression="zstd")
            for rows in _groups(self._row(image) for image in images):
                writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
            writer.close()
        return Counter()

    def finish(self, parts: list[str], files: Files) -> None:
        card = (
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\n---\n\n"
            "Masks made by LiteLVLM Annotate, not reviewed. A row is an image; its masks, classes, phrases and scores\n"
            "run parallel. A mask is 255 inside.\n"
        )
        files.write("README.md", card.encode())

    def _schema(self) -> pa.Schema:
        fields = [
            ("image_id", pa.string(), _value("string")),
            ("file_name", pa.string(), _value("string")),
            *([("image", _IMAGE, {"_type": "Image"})] if self.with_images else []),
            ("width", pa.int32(), _value("int32")),
            ("height", pa.int32(), _value("int32")),
            ("masks", pa.list_(_IMAGE), _list({"_type": "Image"})),
            ("categories", pa.list_(pa.int64()), _list(self._class_label())),
            ("phrases", pa.list_(pa.string()), _list(_value("string"))),
            ("records", pa.list_(pa.string()), _list(_value("string"))),
            ("scores", pa.list_(pa.float32()), _list(_value("float32"))),
            ("bboxes", pa.list_(pa.list_(pa.float64(), 4)), _list(_list(_value("float64"), length=4))),
            ("areas", pa.list_(pa.int64()), _list(_value("int64"))),
        ]
        features = {name: feature for name, _, feature in fields}
        schema = pa.schema([pa.field(name, kind) for name, kind, _ in fields])
        return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})

    def _class_label(self) -> dict[str, Any]:
        return {"names": [one.name for one in self.classes], "_type": "ClassLabel"}

    def _row(self, image: MaskedImage) -> dict[str, Any]:
        masks = [{"bytes": _png(one.mask), "path": f"{image.stem}-{one.id}.png"} for one in image.objects]
        row = {
            "image_id": image.source_id,
            "file_name": image.file_name,
            "width": image.width,
            "height": image.height,
            "masks": masks,
            "categories": [one.class_index for one in image.objects],
            "phrases": [one.phrase for one in image.objects],
            "records": [one.record for one in image.objects],
            "scores": [one.score for one in image.objects],
            "bboxes": [list(one.mask.bbox_xywh) for one in image.objects],
            "areas": [one.mask.area for one in image.objects],
        }
        if self.with_images:
            row["image"] = None if image.data is None else {"bytes": image.data, "path": image.file_name}
        return row


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _list(feature: dict[str, Any], length: int = -1) -> dict[str, Any]:
    """Releases before 4 of the library know this name only, later ones read it as their `List`."""
    return {"feature": feature, "length": length, "_type": "Sequence"}


def _png(mask: EncodedMask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(decode_mask(mask).astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    num_bytes = 0
    for row in rows:
        group.append(row)
        num_bytes += sum(len(one["bytes"]) for one in row["masks"]) + len((row.get("image") or {}).get("bytes", b""))
        if num_bytes >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
