"""Rows of one image as one image: published tables have a row for each object, and are cut into files anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from litelvlm.evaluation.datasets.fields import shown
from litelvlm.evaluation.datasets.truth import Expression, TrueImage

_DIGEST_BYTES = 16


class ScatteredRows(ValueError):
    """Rows of one image have rows of others between them, which a single reading cannot join."""


def joined(images: Iterable[tuple[str, TrueImage]]) -> Iterator[TrueImage]:
    """Neighbours that are one image as one, of images with the place where they were read.

    An image is its id, its split and its content, which is its bytes, or its name where it has none: the same id with
    other bytes is another image. Of images that are done a short digest stays in memory.

    Raises ScatteredRows naming the image where rows of one image have others between them.
    """
    done: set[bytes] = set()
    current: TrueImage | None = None
    key, expressions = b"", list[Expression]()
    for place, image in images:
        digest = _digest(image)
        if current is not None and digest == key:
            expressions += image.expressions
            continue
        if current is not None:
            yield dataclasses.replace(current, expressions=tuple(expressions))
            done.add(key)
        if digest in done:
            raise ScatteredRows(f"{place}: image {shown(image.image_id)} again, after rows of other images")
        current, key, expressions = image, digest, list(image.expressions)
    if current is not None:
        yield dataclasses.replace(current, expressions=tuple(expressions))


def gathered(read: Callable[[], Iterable[tuple[str, TrueImage]]]) -> Iterator[TrueImage]:
    """The same of images whose rows stand anywhere, in the order of their first rows, from reading everything twice.

    The expressions of all images, with their masks as run lengths, lie in memory; their bytes do not.
    """
    expressions: dict[bytes, list[Expression]] = defaultdict(list)
    for _, image in read():
        expressions[_digest(image)] += image.expressions
    for _, image in read():
        if (own := expressions.pop(_digest(image), None)) is not None:
            yield dataclasses.replace(image, expressions=tuple(own))


def _digest(image: TrueImage) -> bytes:
    content = image.data if image.data is not None else (image.path or "").encode()
    parts = (
        image.image_id.encode(),
        (image.split or "").encode(),
        b"path" if image.data is None else b"bytes",
        content,
    )
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
