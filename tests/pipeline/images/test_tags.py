"""Tag directories are read within a budget, in TIFF and in EXIF, and lists of strips before they are made."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.images.tags import MAX_NUMERIC_BYTES, TagError, TiffFile, meter_directories
from tests.pipeline.wild import encode, picture, tiff_with_tags

# pytest resets the warning filters that the package sets at import.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")


def test_a_sound_tiff_reads_as_with_pillow() -> None:
    data = encode(Image.fromarray(picture()), "TIFF", compression="tiff_lzw", description="four quarters")
    with TiffFile(io.BytesIO(data)) as ours, Image.open(io.BytesIO(data)) as theirs:
        assert ours.tag_v2[270] == "four quarters"  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_tags_that_name_the_same_bytes_over_and_over_end_at_the_budget() -> None:
    body = bytes(100_000)
    few = tiff_with_tags([(50_000 + tag, 7, 100_000, 8) for tag in range(100)], body)
    assert TiffFile(io.BytesIO(few)).size == (8, 8)
    many = tiff_with_tags([(50_000 + tag, 7, 100_000, 8) for tag in range(200)], body)  # 20 MB, more than 16 MiB
    with pytest.raises(TagError, match="the tags add up to more than the file"):
        TiffFile(io.BytesIO(many))


@pytest.mark.parametrize("tag", [273, 50_000])
def test_long_lists_of_numbers_are_refused_by_tag(tag: int) -> None:
    count = MAX_NUMERIC_BYTES // 4
    tiff = tiff_with_tags([(50_000, 4, count, 8)], bytes(4 * count))
    assert TiffFile(io.BytesIO(tiff)).size == (8, 8)
    tiff = tiff_with_tags([(tag, 4, count + 1, 8)], bytes(4 * count + 4))
    with pytest.raises(TagError, match=f"tag {tag} holds more than {MAX_NUMERIC_BYTES} bytes of numbers"):
        TiffFile(io.BytesIO(tiff))


def test_strips_that_cover_the_picture_over_and_over_are_refused() -> None:
    places = struct.pack("<I", 8) * 17
    with TiffFile(io.BytesIO(tiff_with_tags([(273, 4, 16, 8), (278, 3, 1, 4)], places))) as planes:
        assert len(planes.tile) == 2 * 8  # as many planes a picture may have
    with pytest.raises(TagError, match="17 strips or tiles cover the picture over and over"):
        TiffFile(io.BytesIO(tiff_with_tags([(273, 4, 17, 8), (278, 3, 1, 4)], places)))


def test_metering_twice_meters_once() -> None:
    meter_directories()
    once = TiffImagePlugin.ImageFileDirectory_v2.load
    meter_directories()
    assert TiffImagePlugin.ImageFileDirectory_v2.load is once


def test_a_bomb_in_the_metadata_does_not_cost_the_image() -> None:
    exif = tiff_with_tags([(50_000 + tag, 7, 200_000, 8) for tag in range(1_000)], bytes(200_000))
    for kind in ("PNG", "WEBP"):
        decoded = decode_image(encode(Image.fromarray(picture()), kind, exif=exif))
        assert decoded.size_hw == (24, 36)


def test_damaged_metadata_does_not_cost_the_image() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(20)
    decoded = decode_image(encode(Image.fromarray(picture()), "PNG", exif=exif))
    assert decoded.size_hw == (24, 36)
