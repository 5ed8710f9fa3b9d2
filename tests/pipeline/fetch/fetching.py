"""A fetcher that does not wait between tries, and how it fails."""

import pytest

from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy

BODY = bytes(range(256)) * 40


def fetcher_for(policy: UriPolicy, **options: object) -> ImageFetcher:
    return ImageFetcher(policy, options, sleep=lambda _: None)


def failure_code(fetcher: ImageFetcher, uri: str) -> str:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(uri)
    assert "secret" not in str(caught.value)
    return caught.value.code
