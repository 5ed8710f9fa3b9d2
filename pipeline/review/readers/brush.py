"""Label Studio's brush strokes: `rle-pack` over the four channels of an image, row by row, as a list of bytes.

A stream of bits, the highest of each byte first: 32 for the number of values, 5 for a value's bits less one, four times
4 for the bits less one in which a length may be told. Then groups: 1 bit whether one value is repeated, 2 bits which
of the four sizes its length has, the length less one, and the value, or as many values as the length says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = np.array([8, 16, 256])  # runs that the first three sizes hold; what is longer is cut after 65,536
_HEADER_BITS = 32 + 5 + 4 * 4
_WINDOW_BITS = 40  # a group's fixed part is at most 27 bits, and begins anywhere in a byte


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of an (H, W) bool mask, each channel of it 255 inside; those that Label Studio's own converter makes.

    Raises ValueError unless the mask has two dimensions and a pixel.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask: expected shape (H, W) with at least one pixel, got {mask.shape}")
    flat = np.ascontiguousarray(mask, dtype=np.bool_).ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    sizes = np.searchsorted(_LONGEST, lengths)
    pieces = np.where(sizes == 3, (lengths - 1) >> 16, 0) + 1
    is_last = np.zeros(int(pieces.sum()), np.bool_)
    is_last[np.cumsum(pieces) - 1] = True
    sizes, values = np.repeat(sizes, pieces), np.repeat(flat[starts], pieces)
    lengths = np.where(is_last, np.repeat(lengths - ((pieces - 1) << 16), pieces), 1 << 16)
    bits = np.array(_LENGTH_BITS)[sizes]
    groups = (((4 | sizes) << bits | (lengths - 1)) << _VALUE_BITS) | np.where(values, 255, 0)
    return _packed(_header(flat.size * _CHANNELS), groups, bits + 3 + _VALUE_BITS)


def decode_brush(rle: Any, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The fourth channel, (H, W) uint8, of an image of this size in pixels; a mask is where it is 128 or more.

    Raises ValueError where the list is none of bytes, ends early, or is of another number of pixels.
    """
    height, width = size_hw
    data = _bytes(rle)
    if len(data) * 8 < _HEADER_BITS:
        raise ValueError("brush: it ends within its header")
    header = int.from_bytes(data[:7], "big") >> (56 - _HEADER_BITS)
    count, value_bits = header >> 21, (header >> 16 & 31) + 1
    if count != _CHANNELS * height * width:
        raise ValueError(f"brush: {count} values are not the {_CHANNELS} channels of {height}x{width} pixels")
    if value_bits != _VALUE_BITS:
        raise ValueError(f"brush: values of {value_bits} bits; expected {_VALUE_BITS}")
    length_bits = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    windows = _windows(data)
    ends, values, places = _groups(windows.tolist(), len(data) * 8, length_bits, count)
    return _alpha(windows, ends, values, places).reshape(height, width)


def _bytes(rle: Any) -> bytes:
    if not isinstance(rle, list):
        raise ValueError(f"brush: a {type(rle).__name__}; expected a list of bytes")
    try:
        return bytes(rle)
    except (TypeError, ValueError):
        raise ValueError("brush: expected a list of integers from 0 to 255") from None


def _header(count: int) -> tuple[int, int]:
    value = count << 5 | (_VALUE_BITS - 1)
    for bits in _LENGTH_BITS:
        value = value << 4 | (bits - 1)
    return value, _HEADER_BITS


def _packed(header: tuple[int, int], groups: NDArray[np.int64], bits: NDArray[np.int64]) -> list[int]:
    """Numbers of that many bits behind each other, and zeros, at least one, to the end of a byte."""
    ends = header[1] + np.cumsum(bits)
    total = int(ends[-1])
    stream = np.zeros(total + 8 - total % 8, np.uint8)
    stream[: header[1]] = [int(char) for char in f"{header[0]:0{header[1]}b}"]
    for place in range(int(bits.max())):
        some = bits > place
        stream[ends[some] - 1 - place] = groups[some] >> place & 1
    return np.packbits(stream).tolist()


def _windows(data: bytes) -> NDArray[np.int64]:
    """The 40 bits that begin with each byte, zeros behind the end."""
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.int64)
    size = len(data)
    return sum((padded[k : k + size] << (_WINDOW_BITS - 8 - 8 * k) for k in range(5)), np.zeros(size, np.int64))


def _groups(
    windows: list[int], num_bits: int, length_bits: list[int], count: int
) -> tuple[list[int], list[int], list[int]]:
    """Of each group where it ends in the image, its value, and the bit at which values that differ begin, or -1."""
    ends, values, places = [], [], []
    place, end = _HEADER_BITS, 0
    while end < count:
        if place + 3 > num_bits:
            raise ValueError("brush: it ends before its image does")
        window = windows[place >> 3] << (place & 7)
        bits = length_bits[window >> (_WINDOW_BITS - 3) & 3]
        length = (window >> (_WINDOW_BITS - 3 - bits) & ((1 << bits) - 1)) + 1
        end += length
        ends.append(end)
        if window >> (_WINDOW_BITS - 1) & 1:
            values.append(window >> (_WINDOW_BITS - 3 - bits - _VALUE_BITS) & 255)
            places.append(-1)
            place += 3 + bits + _VALUE_BITS
        else:
            values.append(0)
            places.append(place + 3 + bits)
            place += 3 + bits + length * _VALUE_BITS
        if place > num_bits:
            raise ValueError("brush: it ends before its image does")
    if end != count:
        raise ValueError("brush: its last values lie outside the image")
    return ends, values, places


def _alpha(windows: NDArray[np.int64], ends: list[int], values: list[int], places: list[int]) -> NDArray[np.uint8]:
    """Every fourth value of the groups."""
    stops = np.array(ends, np.int64)
    starts = np.concatenate(([0], stops[:-1]))
    alpha = np.repeat(np.array(values, np.uint8), np.diff(stops // _CHANNELS, prepend=0))
    begins = np.array(places, np.int64)
    several = np.flatnonzero(begins >= 0)
    counts = stops[several] // _CHANNELS - starts[several] // _CHANNELS
    firsts = starts[several] // _CHANNELS
    pixels = np.repeat(firsts - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    behind = pixels * _CHANNELS + _CHANNELS - 1 - np.repeat(starts[several], counts)
    bits = np.repeat(begins[several], counts) + behind * _VALUE_BITS
    alpha[pixels] = windows[bits >> 3] >> (_WINDOW_BITS - _VALUE_BITS - (bits & 7)) & 255
    return alpha
