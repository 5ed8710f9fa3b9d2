"""Images that a data set names by path, read into the table itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from litelvlm.evaluation.datasets.fields import shown
from litelvlm.evaluation.datasets.truth import TrueImage
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.images.decode import DecodedImage, ImageError, decode_image


class ImageEmbedder:
    """Puts images into the table from below `root`: a directory, a bucket's prefix or a URL.

    `turned` counts the images whose EXIF tag rotates or mirrors them.
    """

    def __init__(self, root: str, options: dict[str, Any]) -> None:
        self.turned = 0
        self._root = root
        self._fetcher = ImageFetcher(UriPolicy(image_root=root), options)

    def embed(self, images: Iterable[TrueImage]) -> Iterator[TrueImage]:
        """The same images with their bytes; those that have them already are left as they are.

        Names come from the data set and cannot leave `root`. Raises ValueError naming an image that cannot be read, is
        no image, or is of another size than its masks.
        """
        for image in images:
            if image.data is not None or image.path is None:
                yield image
                continue
            try:
                data = self._fetcher.fetch(image.path)
                decoded = decode_image(data, needed_size=lambda _: (1, 1))  # as small as it can be decoded
            except (FetchError, ImageError) as error:
                raise ValueError(f"{self._place(image)}: {error}") from error
            self._check_size(image, decoded)
            self.turned += _is_turned(decoded)
            yield dataclasses.replace(image, data=data)

    def _check_size(self, image: TrueImage, decoded: DecodedImage) -> None:
        if image.size_hw is None or decoded.size_hw == image.size_hw:
            return
        found, wanted = (f"{width}x{height}" for height, width in (decoded.size_hw, image.size_hw))
        upright = " once its EXIF tag has turned it upright" if _is_turned(decoded) else ""
        raise ValueError(
            f"{self._place(image)}: {shown(image.path)} has {found} pixels{upright}, and {wanted} in the annotations; "
            "name the directory of the images that were annotated, as they were published"
        )

    def _place(self, image: TrueImage) -> str:
        return f"--embed-images {self._root}: image {image.image_id}"


def _is_turned(decoded: DecodedImage) -> bool:
    return "exif: turned upright" in decoded.notes
