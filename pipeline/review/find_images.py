"""Which images of the run the images of a reviewed file are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from litelvlm.pipeline.output.names import clash_key, split_extension
from litelvlm.pipeline.review.edits import Row
from litelvlm.pipeline.review.reviewed import ReviewedImage
from litelvlm.pipeline.review.run_records import RunRecords

_COLUMNS = (
    "record", "image_id", "phrase_index", "phrase", "category", "status", "score", "file_name", "height", "width",
    "mask_rle", "area", "bbox_xywh", "source_file", "source_row",
)  # fmt: skip
ImageKey = tuple[str, str]  # file name and id


@dataclass
class _Wanted:
    """What the reviewed images go by: keys of records, and names in every form."""

    records: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


class RunImages:
    """The images of a run that some reviewed images may be, with all of their records."""

    def __init__(self, records: RunRecords, reviewed: Sequence[ReviewedImage]) -> None:
        wanted = _Wanted()
        for image in reviewed:
            wanted.records.update(keys_of(image))
            wanted.names.update(_forms(image.file_name))
        self.by_key: dict[ImageKey, list[Row]] = defaultdict(list)
        self._by_record: dict[str, ImageKey] = {}
        self._by_name: dict[str, set[ImageKey]] = defaultdict(set)
        places = _places(records, wanted)
        for row in records.take(places, _COLUMNS).to_pylist():
            key = row["file_name"], row["image_id"]
            self.by_key[key].append(row)
            self._by_record[row["record"]] = key
            for form in _forms(row["file_name"]):
                self._by_name[form].add(key)

    def find(self, image: ReviewedImage) -> ImageKey:
        """The run's image. Raises ValueError where there is none, several, or where its records are of several."""
        keys = {self._by_record[key] for key in keys_of(image) if key in self._by_record}
        if len(keys) > 1:
            raise ValueError("its records belong to several images of the run")
        if keys:
            return keys.pop()
        for form in _forms(image.file_name):
            found = self._by_name.get(form, set())
            if len(found) > 1 and image.image_id is not None:
                found = {key for key in found if key[1] == image.image_id}
            if len(found) > 1:
                raise ValueError(f"several images of the run have the name {form!r}")
            if found:
                return next(iter(found))
        raise ValueError("the run has no such image")


def keys_of(image: ReviewedImage) -> Iterator[str]:
    """Keys of records that a reviewed image names."""
    yield from image.records or ()
    for review in image.reviews:
        yield from (region.record for region in review.regions if region.record)


def _places(records: RunRecords, wanted: _Wanted) -> np.ndarray:
    """Places of all records of the images that are wanted."""
    names: set[str] = set()
    for table in records.tables(["record", "file_name"]):
        keys, files = table.column("record").to_pylist(), table.column("file_name").to_pylist()
        names.update(file for key, file in zip(keys, files, strict=True) if key in wanted.records)
        names.update(file for file in set(files) if any(form in wanted.names for form in _forms(file)))
    places, start = [], 0
    for table in records.tables(["file_name"]):
        files = table.column("file_name").to_pylist()
        places += [start + at for at, file in enumerate(files) if file in names]
        start += len(files)
    return np.array(places, np.int64)


def _forms(name: str) -> list[str]:
    """A name, then its ends, which a tool may have cut it to or put something before; then all of these without
    extension, in any case."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = ["/".join(parts[at:]) for at in range(len(parts))]
    return [*ends, *(f"\0{clash_key(split_extension(end)[0])}" for end in ends)]
