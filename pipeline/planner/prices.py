"""The price table: which devices can be rented, and for how much.

A YAML file that names its sources with dates; `prices.yaml` beside this file is the one that comes with the project.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter, ValidationError

DEFAULT_PRICES = Path(__file__).resolve().parent / "prices.yaml"

_Count = Annotated[int, Field(gt=0)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A kind of device for rent.

    Attributes:
        devices: whole words, of which one stands in the name of such a device, in large or small letters.
        on_demand: of an instance and hour.
        sources: of these figures, by the table's names.
    """

    name: str = ""
    devices: _Names
    instance: str
    gpus_per_instance: _Count
    vcpus: _Count
    on_demand: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sources: _Names

    def is_device(self, device: str) -> bool:
        """Whether a device of this name, as the throughput table has it, is of this kind."""
        words = (rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])" for word in self.devices)
        return any(re.search(word, device.lower()) for word in words)

    @property
    def vcpus_per_gpu(self) -> float:
        return self.vcpus / self.gpus_per_instance


@dataclass(frozen=True, kw_only=True)
class FigureSource:
    """Where figures are from."""

    url: str
    date: datetime.date
    what: str


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Offers and sources by name."""

    currency: str
    gpus: Annotated[dict[str, Offer], Field(min_length=1)]
    sources: dict[str, FigureSource]

    def offer(self, name: str) -> Offer:
        """Raises ValueError naming those that there are."""
        if name.lower() not in self.gpus:
            raise ValueError(f"--gpu {name}: not in the price table; it has {', '.join(self.gpus)}")
        return self.gpus[name.lower()]

    def of_device(self, device: str) -> Offer | None:
        """The kind of a device by its name; None where the table does not know it."""
        return next((offer for offer in self.gpus.values() if offer.is_device(device)), None)


def load_prices(path: str | None = None) -> PriceTable:
    """Read a price table. Raises ValueError naming the entry that does not fit."""
    name = path or str(DEFAULT_PRICES)
    try:
        table = TypeAdapter(PriceTable).validate_python(yaml.safe_load(Path(name).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"--prices {name}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"--prices {name}: {place}: {first['msg']}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"--prices {name} is not valid YAML: {' '.join(str(error).split())}") from error
    for kind, offer in table.gpus.items():
        unknown = [source for source in offer.sources if source not in table.sources]
        if unknown:
            raise ValueError(f"--prices {name}: gpus.{kind}.sources: {unknown[0]} is not among the sources")
    named = {kind.lower(): dataclasses.replace(offer, name=kind.lower()) for kind, offer in table.gpus.items()}
    return dataclasses.replace(table, gpus=named)
