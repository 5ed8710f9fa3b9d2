"""Tag directories of untrusted images, TIFF's own and those of EXIF, read within a budget.

A directory names places in the file by offset, so that thousands of tags can stand for the same bytes: 250 kB of TIFF
or EXIF then cost a reader gigabytes. Every directory is read through a meter instead.
"""

from io import SEEK_END
from typing import IO, Any

from PIL import TiffImagePlugin

_EXTRA_BYTES = 16 * 2**20
_NUMERIC_TYPES = (3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18)
# Numbers become Python objects, and each strip or tile an entry of a list: forty times the bytes of the file.
MAX_NUMERIC_BYTES = 2**20
_STRIP_PASSES = 8  # planes of one picture; more strips than that would decode it over and over


class TagError(ValueError):
    """A directory that would cost far more than the file is worth."""


class _Metered:
    """A stream of which only so many bytes can be read, however often it is wound back."""

    def __init__(self, stream: IO[bytes], num_bytes: int) -> None:
        self._stream = stream
        self._left = num_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise TagError("the tags add up to more than the file")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def meter_directories() -> None:
    """Make Pillow read every tag directory within a budget, in whatever format it is found. Done once."""
    read = TiffImagePlugin.ImageFileDirectory_v2.load
    if getattr(read, "is_metered", False):
        return

    def load(directory: TiffImagePlugin.ImageFileDirectory_v2, fp: IO[bytes]) -> None:
        here = fp.tell()
        size = fp.seek(0, SEEK_END)
        fp.seek(here)
        # The directory of a picture may hold whole profiles and layers; those inside EXIF are small.
        is_inner = directory.group is not None
        read(directory, _Metered(fp, _EXTRA_BYTES if is_inner else _EXTRA_BYTES + size))  # type: ignore[arg-type]

    load.is_metered = True  # type: ignore[attr-defined]
    TiffImagePlugin.ImageFileDirectory_v2.load = load  # type: ignore[method-assign, assignment]


_PHOTOMETRIC, _STRIP_BYTES, _YCBCR = 262, 279, 6


class TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF whose lists of strips and tiles are checked before they are made."""

    def _setup(self) -> None:
        for tag, kind in self.tag_v2.tagtype.items():
            if kind in _NUMERIC_TYPES and len(self.tag_v2._tagdata.get(tag, b"")) > MAX_NUMERIC_BYTES:
                raise TagError(f"tag {tag} holds more than {MAX_NUMERIC_BYTES} bytes of numbers")
        super()._setup()
        self._read_plain_ycbcr()
        width, height = self.size
        boxes = [tile.extents or (0, 0, 0, 0) for tile in self.tile]
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if covered > _STRIP_PASSES * width * height:
            raise TagError(f"{len(self.tile)} strips or tiles cover the picture over and over")

    def _read_plain_ycbcr(self) -> None:
        """Pillow writes YCbCr without compression as three bytes a pixel, and would read them as four."""
        width, height = self.size
        is_plain = self._compression == "raw" and self.tag_v2.get(_PHOTOMETRIC) == _YCBCR and self.mode == "RGB"
        if is_plain and sum(self.tag_v2.get(_STRIP_BYTES, ())) == 3 * width * height:
            self._mode = "YCbCr"
            self.tile = [tile._replace(args=("YCbCr", 0, 1)) for tile in self.tile]
