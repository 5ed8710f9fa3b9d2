"""What a configuration may say, checked before anything is built from it."""

from __future__ import annotations

import dataclasses
import math


def shown(name: str) -> str:
    """A name from a file, fit for a message: as it is, or spelled out where it could steer a terminal."""
    return name[:200] if name[:200].isprintable() else ascii(name[:200])


def check_int_at_least(name: str, value: object, minimum: int) -> None:
    """Raises ValueError unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name}: must be an integer of at least {minimum}, not {value!r}")


def check_sizes(prefix: str, sizes: object, others: tuple[str, ...]) -> None:
    """Every integer of a dataclass of sizes is positive and of this world, so that a `config.json` that is damaged or
    lies is refused before anything is built from it."""
    for item in dataclasses.fields(sizes):  # type: ignore[arg-type]
        if item.name in others:
            continue
        value, largest = getattr(sizes, item.name), _largest(item.name)
        check_int_at_least(f"{prefix}.{item.name}", value, 1)
        if value > largest:
            raise ValueError(f"{prefix}.{item.name}: is {value}; no model has more than {largest}")


def _largest(name: str) -> int:
    if name.endswith("layers"):
        return 512
    if name in ("image_size", "patch_size"):
        return 8192
    return 2**24 if name in ("vocab_size", "max_position_embeddings", "context_length") else 2**18


def check_divides(prefix: str, sizes: object, *pairs: tuple[str, str]) -> None:
    """Raises ValueError unless the first field of each pair is a multiple of the second."""
    for whole, part in pairs:
        if getattr(sizes, whole) % getattr(sizes, part):
            raise ValueError(f"{prefix}.{whole}: must be a multiple of {part}")


def check_finite(name: str, value: object, *, positive: bool = False) -> None:
    """Raises ValueError unless `value` is a number that a float can hold, and above 0 if it must be `positive`."""
    try:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        fits = False
    if not fits or (positive and value <= 0):  # type: ignore[operator]
        raise ValueError(f"{name}: must be a {'positive' if positive else 'finite'} number, not {value!r}")
