"""The images of a run, read once more: in the order of the input, each row once."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import DataError, StorageError
from litelvlm.pipeline.export.run_images import MaskedImage
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.schemas import NAMES_NAME
from litelvlm.pipeline.shards.manifest import Manifest, Shard, read_manifest
from litelvlm.pipeline.shards.read import SourceRow, read_shard
from litelvlm.pipeline.storage.range_file import ChangedError
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping, input_columns
from litelvlm.pipeline.table.footers import read_footers
from litelvlm.pipeline.table.rows import read_row

_QUALITY = 95
_TURNED = "exif"  # how the note of a turned image begins
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}  # else PNG
Key = tuple[str, int]  # file and row of the input


class Named(NamedTuple):
    """An image of the COCO files, and the first row of the input that it is in."""

    file_name: str
    source_file: str
    source_row: int


class SourceFiles:
    """Puts their encoded images to images, which come in the order of the run's COCO files.

    `counts` are of those that cannot be read any more, by reason.
    """

    def __init__(self, storage: Storage, config: RunConfig, policy: UriPolicy) -> None:
        self._storage, self._config = storage, config
        self._rows = _Rows(config, read_manifest(storage))
        self._fetcher = ImageFetcher(policy, config.storage_options)
        self.counts: Counter[str] = Counter()

    def add_to(
        self, images: Iterable[MaskedImage], unless: Callable[[MaskedImage], bool] = lambda image: False
    ) -> Iterator[MaskedImage]:
        """The same images with their data, None where it cannot be read or `unless` says that nobody wants it. They are
        those of one COCO part, in order."""
        names: Iterator[Named] | None = None
        for image in images:
            names = names or named_from(self._storage, image.id)
            named = next(names, None)
            if named is None or named.file_name != image.file_name:
                raise DataError(f"{NAMES_NAME} does not hold {image.file_name}, which is in the COCO files")
            if not unless(image):
                self.put(image, (named.source_file, named.source_row))
            yield image

    def put(self, image: MaskedImage, key: Key) -> None:
        """Put its data to an image that is in this row; None where they cannot be read.

        Raises StorageError where a store fails for now.
        """
        try:
            image.data = self._data(key, image)
        except ChangedError as error:
            self.counts[f"unread: {type(error).__name__}"] += 1
        except StorageError:
            raise
        except (FetchError, ImageError, ValueError, OSError) as error:
            self.counts[f"unread: {getattr(error, 'code', type(error).__name__)}"] += 1

    def _data(self, key: Key, image: MaskedImage) -> bytes:
        row, mapping = self._rows.read(key)
        given = read_row(row.cells, mapping, default_id="")
        if row.error or given.error:
            raise ValueError(row.error or given.error)
        data = self._fetcher.fetch(given.image_uri) if given.image_uri else given.image_bytes or b""
        return _upright(data, image, self._config)


class _Rows:
    """Rows of the input, best asked for in its order: another begins with its shard again."""

    def __init__(self, config: RunConfig, manifest: Any) -> None:
        self._config, self._manifest = config, manifest
        self._mappings: dict[str, ColumnMapping] = {}
        self._shard: Shard | None = None
        self._rows: Iterator[SourceRow] = iter(())
        self._next = 0  # number of the first row that was not passed

    def read(self, key: Key) -> tuple[SourceRow, ColumnMapping]:
        """A row and its columns. Raises ValueError where it is gone, and as `read_shard` does."""
        file, number = key
        mapping = self._mapping(file)
        shard = self._shard
        is_ahead = shard is not None and shard.file == file and self._next <= number < shard.row_stop
        if not is_ahead:
            self._shard = shard = self._shard_of(key)
            options, sample = self._config.storage_options, self._config.source.sample
            self._rows = read_shard(shard, mapping, options, sample=sample)
        for row in self._rows:
            self._next = row.number + 1
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


def named_from(storage: Storage, first_id: int) -> Iterator[Named]:
    """The images of a run's COCO files from an id on, in order. Raises DataError where there is no list of them."""
    try:
        stream = storage.open_read(NAMES_NAME)
    except FileNotFoundError as error:
        raise DataError(f"{NAMES_NAME} is gone: the run is not whole") from error
    with stream:
        table = pq.ParquetFile(stream)
        row = 0
        for group in range(table.num_row_groups):
            num_rows = table.metadata.row_group(group).num_rows
            if row + num_rows >= first_id:
                rows = table.read_row_group(group, columns=list(Named._fields)).to_pylist()
                yield from (Named(**one) for one in rows[max(0, first_id - 1 - row) :])
            row += num_rows


def _upright(data: bytes, image: MaskedImage, config: RunConfig) -> bytes:
    """The image as its masks see it: as it is, unless a tag would have it turned, which not every reader does.

    Raises:
        ImageError, ValueError: it is another image than the run saw.
    """
    source = config.source
    decoded = decode_image(data, max_pixels=source.max_pixels, keep_truncated=source.truncated == "keep")
    if decoded.size_hw != (image.height, image.width):
        raise ValueError(f"it is {decoded.size_hw} now, and was {(image.height, image.width)}")
    if not any(note.startswith(_TURNED) for note in decoded.notes):
        return data
    ending = image.file_name[len(image.stem) :].lower()
    buffer = io.BytesIO()
    Image.fromarray(decoded.rgb).save(buffer, _FORMATS.get(ending, "PNG"), quality=_QUALITY)
    return buffer.getvalue()
