"""The images of a run, read once more: in the order of the input, each row once."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.schemas import RECORDS_DIR
from litelvlm.pipeline.shards.manifest import Manifest, Shard, read_manifest
from litelvlm.pipeline.shards.read import SourceRow, read_shard
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping, input_columns
from litelvlm.pipeline.table.footers import read_footers
from litelvlm.pipeline.table.rows import read_row

_COLUMNS = ["file_name", "height", "source_file", "source_row"]
_BATCH_ROWS = 50_000
_QUALITY = 95
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}  # else PNG
Key = tuple[str, int]  # file and row of the input


@dataclass(frozen=True, kw_only=True)
class Place:
    """A record, by the number of its file and its row there."""

    file: int
    row: int


def find_starts(storage: Storage, first_names: Iterable[str]) -> Iterator[Place]:
    """Where the records of the images with these names begin, each the first image of a COCO part, in order.

    Raises:
        DataError: one has no record.
    """
    records = _records(storage, Place(file=0, row=0), ["file_name"])
    for wanted in first_names:
        found = next((place for place, one in records if one["file_name"] == wanted), None)
        if found is None:
            raise DataError(f"{RECORDS_DIR} hold no record of {wanted}, which is in the COCO files")
        yield found


class SourceFiles:
    """Puts their encoded images to images, which come in the order of the run's COCO files.

    `counts` are of those that cannot be read any more, by reason.
    """

    def __init__(self, storage: Storage, config: RunConfig, policy: UriPolicy, start: Place) -> None:
        self._config = config
        self._records = _records(storage, start, _COLUMNS)
        self._rows = _Rows(config, read_manifest(storage))
        self._fetcher = ImageFetcher(policy, config.storage_options)
        self.counts: Counter[str] = Counter()

    def add_to(self, images: Iterable[MaskedImage]) -> Iterator[MaskedImage]:
        """The same images with their data, None where it cannot be read."""
        for image in images:
            key = self._key_of(image)
            try:
                image.data = self._data(key, image)
            except (FetchError, ImageError, ValueError, OSError) as error:
                self.counts[f"unread: {getattr(error, 'code', type(error).__name__)}"] += 1
            yield image

    def _key_of(self, image: MaskedImage) -> Key:
        """The first row of an image. Rows come in the order of the images."""
        for _, one in self._records:
            if one["height"] is not None and one["file_name"] == image.file_name:
                return one["source_file"], one["source_row"]
        raise DataError(f"{RECORDS_DIR} hold no record of {image.file_name}, which is in the COCO files")

    def _data(self, key: Key, image: MaskedImage) -> bytes:
        row, mapping = self._rows.read(key)
        given = read_row(row.cells, mapping, default_id="")
        if row.error or given.error:
            raise ValueError(row.error or given.error)
        data = self._fetcher.fetch(given.image_uri) if given.image_uri else given.image_bytes or b""
        return _upright(data, image, self._config)


class _Rows:
    """Rows of the input, asked for in its order."""

    def __init__(self, config: RunConfig, manifest: Any) -> None:
        self._config, self._manifest = config, manifest
        self._mappings: dict[str, ColumnMapping] = {}
        self._shard: Shard | None = None
        self._rows: Iterator[SourceRow] = iter(())

    def read(self, key: Key) -> tuple[SourceRow, ColumnMapping]:
        """A row and its columns. Raises ValueError where it is gone, and as `read_shard` does."""
        file, number = key
        mapping = self._mapping(file)
        shard = self._shard
        if shard is None or shard.file != file or not shard.row_start <= number < shard.row_stop:
            self._shard = shard = self._shard_of(key)
            options, sample = self._config.storage_options, self._config.source.sample
            self._rows = read_shard(shard, mapping, options, sample=sample)
        for row in self._rows:
            if row.number == number:
                return row, mapping
        raise ValueError(f"row {number} of {file} is gone")

    def _shard_of(self, key: Key) -> Shard:
        table = self._manifest
        holds = pc.and_(pc.less_equal(table["row_start"], key[1]), pc.greater(table["row_stop"], key[1]))
        found = table.filter(pc.and_(holds, pc.equal(table["file"], key[0])))
        if not found.num_rows:
            raise ValueError(f"row {key[1]} of {key[0]} is in no shard of the manifest")
        return Manifest.from_table(found.slice(0, 1)).shards[0]

    def _mapping(self, file: str) -> ColumnMapping:
        if file not in self._mappings:
            schema = read_footers([file], self._config.storage_options)[0].schema
            self._mappings[file] = input_columns(schema, self._config.source)
        return self._mappings[file]


def _records(storage: Storage, start: Place, columns: list[str]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Columns of records from a place on, and where each stands."""
    for number, name in enumerate(sorted(storage.list(RECORDS_DIR))):
        if number < start.file:
            continue
        row, skipped = 0, start.row if number == start.file else 0
        with storage.open_read(name) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                first = max(0, skipped - row)
                for at, one in enumerate(batch.slice(first).to_pylist(), start=row + first):
                    yield Place(file=number, row=at), one
                row += batch.num_rows


def _upright(data: bytes, image: MaskedImage, config: RunConfig) -> bytes:
    """The image as its masks see it: as it is, unless a tag would have it turned, which not every reader does.

    Raises:
        ImageError, ValueError: it is another image than the run saw.
    """
    source = config.source
    keep = source.truncated == "keep"
    with Image.open(io.BytesIO(data)) as opened:
        if opened.size == (image.width, image.height) and opened.getexif().get(0x0112, 1) in (0, 1):
            return data
    decoded = decode_image(data, max_pixels=source.max_pixels, keep_truncated=keep)
    if decoded.size_hw != (image.height, image.width):
        raise ValueError(f"it is {decoded.size_hw} now, and was {(image.height, image.width)}")
    ending = image.file_name[len(image.stem) :].lower()
    buffer = io.BytesIO()
    Image.fromarray(decoded.rgb).save(buffer, _FORMATS.get(ending, "PNG"), quality=_QUALITY)
    return buffer.getvalue()
