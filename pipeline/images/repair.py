"""Files that are damaged where it costs no pixel: metadata that no decoder should choke on, a missing end marker."""

from __future__ import annotations

import struct

_PNG_HEADER = 8
_PNG_METADATA = {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"sPLT"}
_JPEG_END = b"\xff\xd9"
#: Entropy-coded data that means something else than its absence, whatever a decoder is in the middle of.
_JPEG_FILLING = bytes((37 * number + 11) % 251 for number in range(64))


def png_without_metadata(data: bytes) -> bytes:
    """The same PNG without texts, profile, EXIF and palette suggestions; as it is where its chunks make no sense."""
    kept, place = [data[:_PNG_HEADER]], _PNG_HEADER
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        if data[place + 4 : place + 8] not in _PNG_METADATA:
            kept.append(data[place:end])
        place = end
    return b"".join(kept) + data[place:]


def jpeg_endings(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG that ends early, ended in two ways: they decode to the same pixels if none are missing.

    Where data of the picture is missing, a decoder takes what it finds in its place: nothing, or the filling. Where all
    of it is there, it stands between the picture and the end marker, and is passed over.
    """
    whole = data.removesuffix(b"\xff")  # half a marker
    return whole + _JPEG_END, whole + _JPEG_FILLING + _JPEG_END
