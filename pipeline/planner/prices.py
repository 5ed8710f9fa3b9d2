"""The price table: which devices can be rented, for how much, and how fast they are said to be.

A YAML file that names its sources with dates; `prices.yaml` beside this file is the one that comes with the project.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HOURS_PER_MONTH = 730.0
DEFAULT_PRICES = Path(__file__).resolve().parent / "prices.yaml"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A kind of device for rent. Prices are per instance and hour.

    Attributes:
        devices: whole words in small letters, of which one stands in the name of such a device.
        interrupted_per_month: upper end of the share of spot instances taken back within a month; None where unknown.
        peak_tflops: dense bf16 peak of one device; memory_gb_per_s: its memory bandwidth. None where unknown.
    """

    name: str
    devices: tuple[str, ...]
    instance: str
    gpus_per_instance: int
    vcpus: int
    memory_gb: float
    on_demand: float
    spot: float | None
    interrupted_per_month: float | None
    peak_tflops: float | None
    memory_gb_per_s: float | None
    sources: tuple[str, ...]

    def is_device(self, device: str) -> bool:
        """Whether a device of this name, as the throughput table has it, is of this kind."""
        words = (rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" for word in self.devices)
        return any(re.search(word, device.lower()) for word in words)

    def price(self, *, spot: bool) -> float | None:
        """Of an instance and hour; None where there is no spot price."""
        return self.spot if spot else self.on_demand

    def speed_against(self, other: Offer) -> tuple[float, float] | None:
        """Times as fast as another device, by the less and by the more favourable of peak and bandwidth.

        None where either of the two is not known of either device.
        """
        if not (self.peak_tflops and self.memory_gb_per_s and other.peak_tflops and other.memory_gb_per_s):
            return None
        by_peak, by_bandwidth = self.peak_tflops / other.peak_tflops, self.memory_gb_per_s / other.memory_gb_per_s
        return min(by_peak, by_bandwidth), max(by_peak, by_bandwidth)

    @property
    def interruptions_per_hour(self) -> float | None:
        """Of one spot instance, if interruptions come at a constant rate."""
        if self.interrupted_per_month is None:
            return None
        return -math.log1p(-self.interrupted_per_month) / HOURS_PER_MONTH

    @property
    def vcpus_per_gpu(self) -> float:
        return self.vcpus / self.gpus_per_instance


@dataclass(frozen=True, kw_only=True)
class StoragePrices:
    """Of an object store; `transfer_per_gb` by where the data goes."""

    name: str
    per_gb_month: float
    per_1000_writes: float
    per_1000_reads: float
    transfer_per_gb: dict[str, float]
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """A price table; `sources` by name: url, date and what it is."""

    currency: str
    offers: dict[str, Offer]
    storage: StoragePrices
    sources: dict[str, dict[str, str]]

    def offer(self, name: str) -> Offer:
        """Raises ValueError naming those that there are."""
        if name.lower() not in self.offers:
            raise ValueError(f"--gpu {name}: not in the price table; it has {', '.join(self.offers)}")
        return self.offers[name.lower()]

    def of_device(self, device: str) -> Offer | None:
        """The kind of a device by its name; None where the table does not know it."""
        return next((offer for offer in self.offers.values() if offer.is_device(device)), None)


def load_prices(path: str | None = None) -> PriceTable:
    """Read a price table. Raises ValueError naming the entry that does not fit."""
    name = path or str(DEFAULT_PRICES)
    try:
        loaded = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--prices {name}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--prices {name} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return _table(_Entry(loaded, ""))
    except _WrongEntry as error:
        raise ValueError(f"--prices {name}: {error}") from None


class _WrongEntry(Exception):
    pass


class _Entry:
    """A mapping of the file that knows its own place, for messages."""

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, dict):
            raise _WrongEntry(f"{place or 'the file'} must be a mapping")
        self.values, self.place = values, place

    def entry(self, key: str) -> _Entry:
        return _Entry(self.values.get(key), self._at(key))

    def entries(self) -> dict[str, _Entry]:
        return {str(key): _Entry(value, self._at(key)) for key, value in self.values.items()}

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if isinstance(value, datetime.date):
            return value.isoformat()
        if not isinstance(value, str) or not value:
            raise _WrongEntry(f"{self._at(key)} must be a text, not {value!r}")
        return value

    def number(self, key: str, *, above: float | None = None) -> float:
        value = self.values.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if is_number and float(value or 0) >= 0 and (above is None or float(value or 0) > above):
            return float(value or 0)
        raise _WrongEntry(f"{self._at(key)} must be a number of {'0 or more' if above is None else 'more than 0'}")

    def maybe(self, key: str) -> float | None:
        return None if self.values.get(key) is None else self.number(key, above=0)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise _WrongEntry(f"{self._at(key)} must be a list of texts")
        return tuple(value)

    def share_range(self, key: str) -> float | None:
        """The upper end of a range of shares; None where it is null."""
        value = self.values.get(key)
        if value is None:
            return None
        shares: list[Any] = value if isinstance(value, list) else []
        good = len(shares) == 2 and all(isinstance(item, int | float) for item in shares)
        if not good or not 0 <= shares[0] <= shares[1] < 1:
            raise _WrongEntry(f"{self._at(key)} must be a range of two shares below 1, or null")
        return float(shares[1])

    def _at(self, key: object) -> str:
        return f"{self.place}.{key}" if self.place else str(key)


def _table(root: _Entry) -> PriceTable:
    sources = {
        name: {"url": entry.text("url"), "date": entry.text("date"), "what": entry.text("what")}
        for name, entry in root.entry("sources").entries().items()
    }
    offers = {name.lower(): _offer(name.lower(), entry) for name, entry in root.entry("gpus").entries().items()}
    if not offers:
        raise _WrongEntry("gpus must hold at least one")
    storage = _storage(root.entry("storage"))
    for place, names in [
        *((f"gpus.{name}", offer.sources) for name, offer in offers.items()),
        ("storage", storage.sources),
    ]:
        unknown = [name for name in names if name not in sources]
        if unknown:
            raise _WrongEntry(f"{place}.sources names {unknown[0]}, which is not among the sources")
    return PriceTable(currency=root.text("currency"), offers=offers, storage=storage, sources=sources)


def _offer(name: str, entry: _Entry) -> Offer:
    return Offer(
        name=name,
        devices=tuple(word.lower() for word in entry.texts("devices")),
        instance=entry.text("instance"),
        gpus_per_instance=int(entry.number("gpus_per_instance", above=0)),
        vcpus=int(entry.number("vcpus", above=0)),
        memory_gb=entry.number("memory_gb", above=0),
        on_demand=entry.number("on_demand"),
        spot=entry.maybe("spot"),
        interrupted_per_month=entry.share_range("interrupted_per_month"),
        peak_tflops=entry.maybe("peak_tflops"),
        memory_gb_per_s=entry.maybe("memory_gb_per_s"),
        sources=entry.texts("sources"),
    )


def _storage(entry: _Entry) -> StoragePrices:
    transfer = entry.entry("transfer_per_gb")
    return StoragePrices(
        name=entry.text("name"),
        per_gb_month=entry.number("per_gb_month"),
        per_1000_writes=entry.number("per_1000_writes"),
        per_1000_reads=entry.number("per_1000_reads"),
        transfer_per_gb={str(key): transfer.number(key) for key in transfer.values},
        sources=entry.texts("sources"),
    )
