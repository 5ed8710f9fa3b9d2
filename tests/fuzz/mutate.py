"""Valid bytes, damaged the way files are damaged and the way attackers damage them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

#: Lengths, offsets and counts that readers stumble over, big and little endian.
_NUMBERS = tuple(
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, 2 ** (4 * size))
    for order in ("big", "little")
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], max_edits: int = 6) -> bytes:
    """One of `seeds` with 1 to `max_edits` edits: flipped bits, numbers put in, parts cut, doubled, or taken over from
    another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, max_edits))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(("flip", "number", "insert", "cut", "double", "splice", "end"))):
            case "flip":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "number":
                number = draw(st.sampled_from(_NUMBERS))
                data[place : place + len(number)] = number
            case "insert":
                data[place:place] = draw(st.sampled_from(_NUMBERS))
            case "cut":
                del data[place : place + draw(st.integers(1, 64))]
            case "double":
                part = bytes(data[place : place + draw(st.integers(1, 256))])
                data[place:place] = part * draw(st.sampled_from((1, 2, 50)))
            case "splice":
                other = draw(st.sampled_from(seeds))
                start = draw(st.integers(0, len(other)))
                data[place:] = other[start:]
            case "end":
                del data[place:]
    return bytes(data)
