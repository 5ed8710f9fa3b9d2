"""Image bytes of a request to what the model reads: the URI policy and the decoders of a run, in a bounded number of
threads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.images.perceptual_hash import perceptual_hash
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.errors import Refusal
from litelvlm.pipeline.storage.filesystems import is_local, local_path
from litelvlm.pipeline.storage.retries import RetryPolicy

if TYPE_CHECKING:
    from litelvlm import PreparedImage
    from litelvlm.pipeline.stages.engine import ImagePreprocessor

LABEL_STUDIO_KEY = "LABEL_STUDIO_API_KEY"
_TRIES = 2  # a client waits: whoever wants more asks again
_STATUS_OF = {"too_many_bytes": 413, "too_many_pixels": 413, "refused": 403, "unavailable": 424, "not_found": 422}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadImage:
    """An image ready for the model.

    Attributes:
        prepared: for both encoders.
        size_hw: of the upright image in pixels.
        perceptual_hash: 16 hex digits.
    """

    prepared: PreparedImage
    size_hw: tuple[int, int]
    perceptual_hash: str


class ImageReader:
    """Fetches and decodes. Its methods may be called from several threads."""

    def __init__(self, config: ServeConfig, preprocessor: ImagePreprocessor) -> None:
        self._max_bytes, self._max_pixels = config.limits.max_bytes, config.limits.max_pixels
        label_studio = [f"{config.label_studio_url.rstrip('/')}/data/"] if config.label_studio_url else []
        key = os.environ.get(LABEL_STUDIO_KEY)
        policy = UriPolicy(
            image_root=config.image_root,
            allowed_prefixes=(*config.allow_prefixes, *label_studio),
            authorizations=tuple((one, f"Token {key}") for one in label_studio if key),
            manifest_is_local=False,
            max_bytes=self._max_bytes,
            timeout_s=min(30.0, config.limits.timeout / 2),
            max_attempts=_TRIES,
        )
        retry = RetryPolicy(seconds=config.limits.timeout / 4, tries=_TRIES, patient_tries=_TRIES)
        self._fetcher = ImageFetcher(policy, config.storage_options, retry=retry)
        self._preprocessor = preprocessor

    def fetch(self, uri: str) -> bytes:
        """The bytes at a URI. Raises FetchError, and CredentialsError where a store refuses the service's own."""
        return self._fetcher.fetch(uri)

    def read(self, data: bytes) -> ReadImage:
        """Decode an image. Raises ImageError with a reason that depends on the bytes alone."""
        decoded = decode_image(
            data,
            max_pixels=self._max_pixels,
            max_bytes=self._max_bytes,
            needed_size=self._preprocessor.needed_size,
        )
        return ReadImage(
            prepared=self._preprocessor.prepare(decoded.rgb, decoded.size_hw),
            size_hw=decoded.size_hw,
            perceptual_hash=perceptual_hash(decoded.rgb),
        )


def refusal_of(error: FetchError | ImageError, field: str, root: str | None = None) -> Refusal:
    """What a client is told of an image that is not read: without the place that relative names start from, which is
    the service's own business."""
    words = str(error).removeprefix(f"{error.code}: ")
    if root is not None:
        start = local_path(root) if is_local(root) else root
        words = words.replace(f"{start.rstrip('/')}/", "")
    return Refusal(_STATUS_OF.get(error.code, 422), error.code, words, field)
