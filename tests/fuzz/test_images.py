"""Mutated image files give an image or a reason, quickly and in little memory."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest
from hypothesis import given

from litelvlm.pipeline.images.decode import FORMATS, ImageError, decode_image
from litelvlm.pipeline.images.sniff import sniff_format
from tests.fuzz.attempt import attempt
from tests.fuzz.mutate import mutated
from tests.fuzz.profiles import fuzz
from tests.pipeline.wild import broken_images, image_bombs, wild_images

pytestmark = [pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*"), pytest.mark.slow]

MAX_PIXELS = 1_000_000
SEEDS: dict[str, list[bytes]] = {kind: [] for kind in FORMATS}
for _data in [*(wild.data for wild in wild_images().values()), *broken_images().values(), *image_bombs().values()]:
    if len(_data) < 20_000 and (_kind := sniff_format(_data)[0]) in SEEDS:
        SEEDS[_kind].append(_data)


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_images(kind: Any) -> None:
    others = [seeds[0] for seeds in SEEDS.values()]

    @fuzz(400)
    @given(mutated([*SEEDS[kind] * 3, *others]))
    def check(data: bytes) -> None:
        check_decoding(data)

    check()


def check_decoding(data: bytes) -> None:
    """Within a second and 300 MiB there is an image within the limit or a printable reason."""
    memory, started = _peak_kib(), time.process_time()
    decoded, error = attempt(ImageError, decode_image, data, max_pixels=MAX_PIXELS)
    if error is None:
        assert decoded.rgb.shape[0] * decoded.rgb.shape[1] <= MAX_PIXELS
    else:
        assert str(error).isprintable()
        assert str(error).startswith(f"{error.code}: ")
        assert len(str(error)) < 300
    assert time.process_time() - started < 1
    assert _peak_kib() - memory < 300 * 1024


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
