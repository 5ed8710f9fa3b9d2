"""What each of two compared runs cost, from its throughput table, as its own report says it."""

from __future__ import annotations

from dataclasses import dataclass

from litelvlm.pipeline.report.shards import ShardTable, timeline
from litelvlm.pipeline.schemas import THROUGHPUT_NAME
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class RunCosts:
    """Measured by the timers of a run; None where it has no such figure.

    Attributes:
        devices: kinds of devices that annotated.
        device_s: seconds that devices were held, start-up and idle included; GPUs per actor count.
        baseline_s: of these, for the comparison with the unpruned model.
        wall_s: from the first to the last shard, pauses left out.
        images, phrases: that were annotated.
        images_per_s, phrases_per_s: over `wall_s`.
        gpu_price: per device and hour.
        cost: of `device_s` at this price.
    """

    devices: tuple[str, ...]
    device_s: float | None
    baseline_s: float | None
    wall_s: float | None
    images: int
    phrases: int
    images_per_s: float | None
    phrases_per_s: float | None
    gpu_price: float | None
    cost: float | None

    @property
    def annotating_s(self) -> float | None:
        """`device_s` without `baseline_s`."""
        return self.device_s - (self.baseline_s or 0.0) if self.device_s is not None else None

    @property
    def phrases_per_device_s(self) -> float | None:
        """Over `annotating_s`; None without a phrase."""
        return self.phrases / self.annotating_s if self.annotating_s and self.phrases else None

    @property
    def cost_per_1000_phrases(self) -> float | None:
        """None without a price or a phrase."""
        return 1000 * self.cost / self.phrases if self.cost is not None and self.phrases else None


def run_costs(storage: Storage, gpu_price: float | None) -> RunCosts:
    """Of a finished run. Raises FileNotFoundError where it has no throughput table."""
    with storage.open_read(THROUGHPUT_NAME) as stream:
        table = ShardTable(read_parquet(stream))
    device_s, held_s, baseline_s = (table.total(name) for name in ("gpu_s", "held_s", "baseline_s"))
    line = timeline(table, steps=1)
    return RunCosts(
        devices=tuple(sorted({one for one in table.texts("device") if one})),
        device_s=device_s,
        baseline_s=baseline_s * device_s / held_s if baseline_s is not None and device_s and held_s else None,
        wall_s=line.worked_s if line else None,
        images=int(table.total("images") or 0),
        phrases=int(table.total("phrases") or 0),
        images_per_s=line.images_per_s[0] if line else None,
        phrases_per_s=line.phrases_per_s[0] if line else None,
        gpu_price=gpu_price,
        cost=device_s / 3600 * gpu_price if device_s is not None and gpu_price is not None else None,
    )
