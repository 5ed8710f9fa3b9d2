"""Pictures in a report: the image of a record, read again from the input, with its masks drawn in.

Read with the run's own readers and under its URI policy. A picture that cannot be had becomes a note. Each is a JPEG of
bounded size within the page.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report.overlay import OverlayItem, draw_masks
from litelvlm.pipeline.shards.manifest import Manifest, Shard, read_manifest
from litelvlm.pipeline.shards.read import read_shard
from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping, input_columns
from litelvlm.pipeline.table.footers import read_footers
from litelvlm.pipeline.table.rows import InputRow, read_row

SIDE_PX = 480
_COLOUR = (255, 0, 168)  # hardly anything in a photograph has it
PAIR_COLOURS = (_COLOUR, (0, 229, 255))  # of two masks to compare
MAX_BYTES = 60_000  # of one JPEG
THUMBNAIL_PX, THUMBNAIL_BYTES = 240, 20_000
_QUALITIES = (82, 65, 45, 25)
_RETRY = RetryPolicy(seconds=5.0)  # a picture is not worth a minute
_FETCH_TIMEOUT_S, _FETCH_ATTEMPTS = 10.0, 2

Key = tuple[str, int]  # file and row


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a data URI with its size in pixels, or a note why there is none."""

    uri: str | None = None
    width: int = 0
    height: int = 0
    note: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceImage:
    """An image of the input, shrunk to `SIDE_PX`, and the phrases of its row; or a note why it cannot be had."""

    rgb: NDArray[np.uint8] | None = None
    size_hw: tuple[int, int] = (0, 0)
    phrases: tuple[str, ...] = ()
    note: str | None = None


class SourceImages:
    """Reads images of a run's input again. Never raises: what goes wrong is the image's note."""

    def __init__(self, storage: Storage, config: RunConfig, policy: UriPolicy, *, budget_s: float = 60.0) -> None:
        self._config = config
        self._redact = Redactor(config.storage_options)
        quick = replace(
            policy,
            timeout_s=min(policy.timeout_s, _FETCH_TIMEOUT_S),
            max_attempts=min(policy.max_attempts, _FETCH_ATTEMPTS),
        )
        self._fetcher = ImageFetcher(quick, config.storage_options, retry=_RETRY)
        self._ends_at = time.monotonic() + budget_s
        self._manifest = read_manifest(storage)

    def file_of(self, shard_id: str) -> str | None:
        """The file that a shard lies in."""
        found = self._manifest.filter(pc.equal(self._manifest["shard_id"], shard_id))
        return found.column("file")[0].as_py() if found.num_rows else None

    def load(self, keys: Iterable[Key]) -> dict[Key, SourceImage]:
        """The images of these rows, each shard read once."""
        by_shard: dict[str, list[Key]] = defaultdict(list)
        shards: dict[str, Shard] = {}
        loaded: dict[Key, SourceImage] = {}
        for key in keys:
            shard = self._shard_of(key)
            if shard is None:
                loaded[key] = SourceImage(note="its row is in no shard of the manifest")
            else:
                shards[shard.shard_id] = shard
                by_shard[shard.shard_id].append(key)
        for shard_id, own in by_shard.items():
            loaded |= self._load_shard(shards[shard_id], own)
        return loaded

    def _shard_of(self, key: Key) -> Shard | None:
        table = self._manifest
        holds = pc.and_(pc.less_equal(table["row_start"], key[1]), pc.greater(table["row_stop"], key[1]))
        found = table.filter(pc.and_(holds, pc.equal(table["file"], key[0])))
        return Manifest.from_table(found.slice(0, 1)).shards[0] if found.num_rows else None

    def _load_shard(self, shard: Shard, keys: list[Key]) -> dict[Key, SourceImage]:
        loaded: dict[Key, SourceImage] = {}
        if time.monotonic() > self._ends_at:
            return {key: SourceImage(note="left out: reading the pictures before it took too long") for key in keys}
        wanted = {row for _, row in keys}
        try:
            mapping = self._mapping(shard.file)
            options, sample = self._config.storage_options, self._config.source.sample
            for row in read_shard(shard, mapping, options, sample=sample, retry=_RETRY):
                if row.number in wanted:
                    given = read_row(row.cells, mapping, default_id="")
                    loaded[shard.file, row.number] = self._load_image(given, row.error)
                if len(loaded) == len(wanted):
                    break
        except Exception as error:  # noqa: BLE001 - a picture's boundary: the input may be gone, changed or out of reach
            note = self._note(error)
            return {key: loaded.get(key, SourceImage(note=note)) for key in keys}
        return {key: loaded.get(key, SourceImage(note="its row was not found")) for key in keys}

    def _load_image(self, given: InputRow, row_error: str | None) -> SourceImage:
        if row_error or given.error:
            return SourceImage(note=self._redact(row_error or given.error or ""))
        try:
            data = self._fetcher.fetch(given.image_uri) if given.image_uri else given.image_bytes or b""
            source = self._config.source
            keep = source.truncated == "keep"
            rgb = decode_image(data, max_pixels=source.max_pixels, keep_truncated=keep).rgb
            return SourceImage(rgb=_shrunk(rgb), size_hw=rgb.shape[:2], phrases=tuple(given.phrases))
        except Exception as error:  # noqa: BLE001 - a picture's boundary, as above
            return SourceImage(note=self._note(error))

    def _mapping(self, file: str) -> ColumnMapping:
        schema = read_footers([file], self._config.storage_options)[0].schema
        return input_columns(schema, dataclasses.replace(self._config.source, mask_column=None))

    def _note(self, error: Exception) -> str:
        return self._redact(str(error) or type(error).__name__)


def draw_picture(
    image: SourceImage, size_hw: tuple[int, int], mask_rle: str | None, outline_rle: str | None = None
) -> Picture:
    """The image, with a mask filled in and another outlined in white where given, both as COCO's compressed counts."""
    if image.rgb is None:
        return Picture(note=image.note)
    if image.size_hw != size_hw:
        return _another_size(image)
    try:
        filled, outlined = ([] if rle is None else [_mask(rle, size_hw)] for rle in (mask_rle, outline_rle))
    except ValueError as error:
        return Picture(note=str(error))
    given = len(filled)
    item = OverlayItem(
        rgb=image.rgb,
        masks=filled,
        phrases=[""] * given,
        scores=[None] * given,
        truths=outlined,
        colours=[_COLOUR] * given,
    )
    return _as_jpeg(draw_masks(item, SIDE_PX))


def draw_pair(image: SourceImage, size_hw: tuple[int, int], first_rle: str | None, second_rle: str | None) -> Picture:
    """The image with two masks in `PAIR_COLOURS`, COCO's compressed counts, None for no mask."""
    if image.rgb is None:
        return Picture(note=image.note)
    if image.size_hw != size_hw:
        return _another_size(image)
    pairs = list(zip((first_rle, second_rle), PAIR_COLOURS, strict=True))
    try:
        masks = [_mask(rle, size_hw) for rle, _ in pairs if rle is not None]
    except ValueError as error:
        return Picture(note=str(error))
    colours = [colour for rle, colour in pairs if rle is not None]
    given = len(masks)
    item = OverlayItem(rgb=image.rgb, masks=masks, phrases=[""] * given, scores=[None] * given, colours=colours)
    return _as_jpeg(draw_masks(item, SIDE_PX))


def draw_thumbnail(image: SourceImage) -> Picture:
    """The image alone, small."""
    if image.rgb is None:
        return Picture(note=image.note)
    item = OverlayItem(rgb=image.rgb, masks=[], phrases=[], scores=[])
    return _as_jpeg(draw_masks(item, THUMBNAIL_PX), THUMBNAIL_BYTES)


def draw_whole(image: SourceImage, size_hw: tuple[int, int], masks_rle: Sequence[str]) -> Picture:
    """The image with several masks, in the colours of `overlay.COLOURS` in turn."""
    if image.rgb is None:
        return Picture(note=image.note)
    if image.size_hw != size_hw:
        return _another_size(image)
    try:
        masks = [_mask(rle, image.size_hw) for rle in masks_rle]
    except ValueError as error:
        return Picture(note=str(error))
    item = OverlayItem(rgb=image.rgb, masks=masks, phrases=[""] * len(masks), scores=[None] * len(masks))
    return _as_jpeg(draw_masks(item, SIDE_PX))


def _another_size(image: SourceImage) -> Picture:
    return Picture(note=f"the image has another size now: {image.size_hw[1]}×{image.size_hw[0]} pixels")


def _as_jpeg(picture: Image.Image, max_bytes: int = MAX_BYTES) -> Picture:
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= max_bytes:
            uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
            return Picture(uri=uri, width=picture.width, height=picture.height)
    return Picture(note="it does not compress into the size of a report's picture")


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = SIDE_PX / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _mask(counts: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    return decode_mask(EncodedMask(size_hw=size_hw, counts=counts, area=0, bbox_xywh=(0, 0, 0, 0)))
