"""Reviewed labels and those accepted unseen as one data set: COCO files and records, with where each is from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.output.coco import (
    CocoAnnotation,
    CocoLayout,
    cvat_labels,
    encode_annotations,
    numbered,
    part_head,
    part_name,
    write_part,
)
from litelvlm.pipeline.output.table_writer import TableWriter, closing_or_discarding
from litelvlm.pipeline.review.edits import ABSENT, ADDED, EDITED, UNCHANGED, UNSEEN, Row, mask_of
from litelvlm.pipeline.review.image_groups import image_groups
from litelvlm.pipeline.review.record_places import key_hash
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.schemas import (
    ANNOTATIONS_DIR,
    CVAT_LABELS_NAME,
    RECORD_SCHEMA,
    RECORDS_DIR,
    STATUS_ABSENT,
    STATUS_EMPTY,
    STATUS_OK,
)
from litelvlm.pipeline.storage.store import Storage

REVIEWED, ACCEPTED, OPEN = "reviewed", "accepted", "open"

LABEL_SCHEMA = pa.schema(
    [
        *RECORD_SCHEMA,
        pa.field("review", pa.string(), nullable=False),  # reviewed, accepted (unseen) or open
        pa.field("verdict", pa.string()),  # of the reviewer
        pa.field("probability", pa.float32()),  # that the run's mask is right, by its score and the reviewed sample
        pa.field("reviewer", pa.string()),
        pa.field("reviewed_at", pa.float64()),  # seconds since the epoch
    ]
)


class LabelWriter:
    """Writes the labels of a run image by image; bounded by one COCO part in memory."""

    def __init__(self, output: Storage, categories: Sequence[Category], lineage: dict[str, Any]) -> None:
        self._output, self._categories = output, categories
        self._ids = {one.name: one.id for one in categories}
        self._head = part_head(lineage, categories)
        self._layout = CocoLayout(head=self._head)
        self._images: list[bytes] = []
        self._annotations: list[bytes] = []
        self.num_parts = 0

    def write(
        self,
        records: RunRecords,
        edits: Sequence[Row],
        accepted: set[int],
        calibration: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> dict[str, int]:
        """Write `records/`, `annotations/` and `cvat_labels.json`. Returns counts by `review`.

        `accepted` are hashes of the keys of the records that are accepted unseen, see `key_hash`.
        """
        by_record = {one["record"]: one for one in edits if one["record"] and one["verdict"] != UNSEEN}
        added: dict[tuple[str, str], list[Row]] = {}
        for one in edits:
            if one["record"] is None:
                added.setdefault((one["file_name"], one["image_id"]), []).append(one)
        counts = dict.fromkeys((REVIEWED, ACCEPTED, OPEN), 0)
        with closing_or_discarding(
            TableWriter(self._output, f"{RECORDS_DIR}/part-00000.parquet", LABEL_SCHEMA)
        ) as table:
            for group in image_groups(records, RECORD_SCHEMA.names):
                more = added.get((group[0]["file_name"], group[0]["image_id"]), [])
                rows = [_label(row, by_record.get(row["record"]), accepted) for row in group]
                rows += [self._addition(one, number) for number, one in enumerate(more)]
                _calibrate(rows, calibration)
                for row in rows:
                    counts[row["review"]] += 1
                table.add(rows)
                self._add_image(rows)
        self._flush(last=True)
        self._output.write_bytes(CVAT_LABELS_NAME, cvat_labels(self._categories))
        return counts

    def _addition(self, edit: Row, number: int) -> Row:
        """A record for what a reviewer drew that is no record's."""
        digest = hashlib.blake2b(str(edit["mask_rle"]).encode(), digest_size=8).hexdigest()
        same = (
            "image_id",
            "file_name",
            "height",
            "width",
            "mask_rle",
            "area",
            "bbox_xywh",
            "source_file",
            "source_row",
        )
        category = edit["category"] if edit["category"] in self._ids else self._categories[0].name
        return dict.fromkeys(LABEL_SCHEMA.names) | {name: edit[name] for name in same} | {
            "record": f"added-{digest}-{number}",
            "phrase_index": -1,
            "phrase": edit["phrase"] or category,
            "category": category,
            "category_id": self._ids[category],
            "status": STATUS_OK,
            **_told(edit),
        }  # fmt: skip

    def _add_image(self, rows: Sequence[Row]) -> None:
        decided = [row for row in rows if row["review"] != OPEN]
        if not decided or decided[0]["height"] is None:
            return
        first = decided[0]
        encoded = encode_annotations(list(self._shown(decided)), first["height"], first["width"])
        place = self._layout.place(
            file_name=first["file_name"],
            height=first["height"],
            width=first["width"],
            sizes=[len(one) for one in encoded],
            source_id=first["image_id"],
        )
        if place.begins_part:
            self._flush(last=False)
        self._images.append(place.entry)
        self._annotations.extend(numbered(place, encoded))

    def _shown(self, rows: Iterable[Row]) -> Iterator[CocoAnnotation]:
        for row in rows:
            if row["status"] == STATUS_OK and row["mask_rle"]:
                yield CocoAnnotation(
                    mask=mask_of(row),
                    phrase=row["phrase"],
                    score=1.0 if row["score"] is None else row["score"],
                    category_id=row["category_id"] or self._categories[0].id,
                    record=row["record"],
                    source="manual" if row["verdict"] in (EDITED, ADDED) else "auto",
                    review="accepted",
                )

    def _flush(self, *, last: bool) -> None:
        if last and self.num_parts and not self._images:
            return
        with self._output.open_write(f"{ANNOTATIONS_DIR}/{part_name(self.num_parts)}") as stream:
            write_part(cast(BinaryIO, stream), self._head, self._images, self._annotations)
        self.num_parts += 1
        self._images, self._annotations = [], []


def categories_of(records: RunRecords) -> tuple[Category, ...]:
    """The classes of a run."""
    ontology = records.saved.config.source.ontology
    return ontology.categories if ontology else (OBJECT,)


def _label(row: Row, edit: Row | None, accepted: set[int]) -> Row:
    if edit is None:
        review = ACCEPTED if accepted and key_hash(row["record"]) in accepted else OPEN
        return row | {"review": review, "verdict": None, "reviewer": None, "reviewed_at": None}
    row = row | _told(edit)
    if edit["verdict"] == UNCHANGED:
        return row
    mask = {name: edit[name] for name in ("mask_rle", "area", "bbox_xywh")}
    unmasked = STATUS_ABSENT if edit["verdict"] == ABSENT else STATUS_EMPTY
    return row | mask | {"status": STATUS_OK if edit["mask_rle"] else unmasked, "error": None, "dropped": None}


def _told(edit: Mapping[str, Any]) -> dict[str, Any]:
    return {"review": REVIEWED, **{name: edit[name] for name in ("verdict", "reviewer", "reviewed_at")}}


def _calibrate(rows: Sequence[Row], calibration: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    names, right = calibration
    for row in rows:
        known = len(names) and row["score"] is not None
        row["probability"] = float(np.interp(row["score"], names, right)) if known else None
