"""The images that go to a review tool, with their masks and with the phrases that have none."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import quote

from litelvlm.pipeline.export.run_images import MaskedImage, MaskedObject, UnmaskedPhrase
from litelvlm.pipeline.output.names import with_suffix
from litelvlm.pipeline.output.unique_names import without_extension
from litelvlm.pipeline.review.edits import Row, mask_of
from litelvlm.pipeline.review.image_groups import image_groups
from litelvlm.pipeline.review.labels import categories_of
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.schemas import STATUS_DROPPED, STATUS_OK

_COLUMNS = (
    "record", "image_id", "phrase", "category_id", "category", "status", "error", "file_name", "image_uri", "height",
    "width", "mask_rle", "bbox_xywh", "area", "score", "source_file", "source_row",
)  # fmt: skip
_REMOTE = ("http://", "https://", "s3://", "gs://", "abfs://", "az://")
Chosen = tuple[MaskedImage, tuple[str, int]]  # an image, and a row of the input that it is in


def chosen_images(
    records: RunRecords,
    keys: Collection[str] | None,
    *,
    whole: bool,
    unique_stems: bool,
    image_base: str | None,
) -> Iterator[Chosen]:
    """Images that have a record among `keys` (None: any), in the order of the run.

    `whole`: with all of their records, for tools that tell later only what is left of an image. Images that could not
    be decoded, and answers that do not stand, are left out.
    """
    names = _UniqueStems() if unique_stems else None
    places = {one.id: index for index, one in enumerate(categories_of(records))}
    next_id = next_object = 1
    for group in image_groups(records, _COLUMNS):
        if group[0]["height"] is None:
            continue
        rows = [row for row in group if keys is None or row["record"] in keys]
        if not rows:
            continue
        rows = [row for row in (group if whole else rows) if row["status"] != STATUS_DROPPED]
        if names is not None:
            names.rename(rows)
        yield _image(rows, places, next_id, next_object, image_base), (group[0]["source_file"], group[0]["source_row"])
        next_id, next_object = next_id + 1, next_object + len(rows)


def keys_where(records: RunRecords, where: Where) -> set[str]:
    """Keys of the records for which a condition holds."""
    found: set[str] = set()
    for table in records.tables(list(dict.fromkeys(["record", *where.columns]))):
        holds = where.holds(table)
        found.update(key for key, ok in zip(table.column("record").to_pylist(), holds, strict=True) if ok)
    return found


def _image(
    rows: list[Row], places: dict[int, int], image_id: int, first_object: int, image_base: str | None
) -> MaskedImage:
    first = rows[0]
    masked = [row for row in rows if row["status"] == STATUS_OK]
    return MaskedImage(
        id=image_id,
        source_id=first["image_id"],
        file_name=first["file_name"],
        height=first["height"],
        width=first["width"],
        objects=[
            MaskedObject(
                id=first_object + number,
                class_index=places.get(row["category_id"], 0),
                mask=mask_of(row),
                phrase=row["phrase"],
                score=round(row["score"], 6),
                record=row["record"],
            )
            for number, row in enumerate(masked)
        ],
        url=_url(first, image_base),
        unmasked=[
            UnmaskedPhrase(phrase=row["phrase"], record=row["record"], status=row["status"], reason=row["error"])
            for row in rows
            if row["status"] != STATUS_OK
        ],
    )


def _url(row: Row, image_base: str | None) -> str | None:
    """Where a tool finds the image; None where it has to be copied."""
    if image_base is not None:
        return f"{image_base.rstrip('/')}/{quote(row['file_name'])}"
    uri = row["image_uri"]
    return uri if uri and uri.lower().startswith(_REMOTE) else None


class _UniqueStems:
    """Names without extension, each given once."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def rename(self, rows: list[Row]) -> None:
        name = given = rows[0]["file_name"]
        number = 0
        while without_extension(name) in self._taken:
            number += 1
            name = with_suffix(given, f"~{number}")
        self._taken.add(without_extension(name))
        for row in rows:
            row["file_name"] = name
