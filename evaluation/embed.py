"""Images that a data set names by path, read into the table itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from evaluation.truth import TrueImage
from pipeline.fetch import FetchError, ImageFetcher, UriPolicy


def embed_images(images: Iterable[TrueImage], *, root: str, options: dict[str, Any]) -> Iterator[TrueImage]:
    """The same images with their bytes, from below `root`: a directory, a bucket's prefix or a URL.

    Names come from the data set and cannot leave `root`. Raises ValueError naming an image that cannot be read.
    """
    fetcher = ImageFetcher(UriPolicy(image_root=root), options)
    for image in images:
        if image.data is not None or image.path is None:
            yield image
            continue
        try:
            data = fetcher.fetch(image.path)
        except FetchError as error:
            raise ValueError(f"--embed-images {root}: image {image.image_id}: {error}") from error
        yield dataclasses.replace(image, data=data)
