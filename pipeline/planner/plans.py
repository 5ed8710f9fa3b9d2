"""From a forecast on the measured device to instances, hours and money on any device of a price table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.cost_model import DEVICE_STAGES
from litelvlm.pipeline.planner.forecast import Forecast
from litelvlm.pipeline.planner.prices import Offer, PriceTable, StoragePrices
from litelvlm.pipeline.planner.runs import MeasuredRun

_ACTOR_CPUS = 1.0  # what the pipeline gives an actor; the rest of an instance decodes
_READS_PER_SHARD, _WRITES_PER_SHARD = 8, 4  # attempts, markers, data; reading them again to merge
_OUTPUT_PER_SHARD_BYTE = 4  # shard files, the merged records and COCO; 3.9 in the demo's run
_GB = 1e9
_MAX_INSTANCES = 100_000


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a plan has to keep to, and what no run can know.

    Attributes:
        deadline_hours: None: one instance, for as long as it takes.
        shard_images: rows per shard; None: as in the runs.
        node_start_s: from asking for an instance until an actor may start on it.
        interruptions_per_hour: of one spot instance; None: the price table's.
        speed_ratio: how many times as fast as the measured device a device is that the table cannot compare.
        transfer: where records and images travel, of the price table's `transfer_per_gb`.
        keep_months: how long the output is stored.
    """

    deadline_hours: float | None = None
    spot: bool = False
    shard_images: int | None = None
    node_start_s: float = 180.0
    interruptions_per_hour: float | None = None
    speed_ratio: float | None = None
    transfer: str = "same-region"
    keep_months: float = 1.0

    def __post_init__(self) -> None:
        for name in ("deadline_hours", "shard_images", "speed_ratio"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be above 0")
        for name in ("node_start_s", "interruptions_per_hour", "keep_months"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One setting on one kind of device.

    Attributes:
        gpus: all of the instances'; hours: until the job has ended; gpu_hours: paid for.
        device_s_per_image: seconds of one device, waiting included.
        speed: times the measured device, and `speed_at_best` by the more favourable of peak and bandwidth.
        cpu_cores_per_gpu: cores that feed one GPU without letting it wait; `vcpus_per_gpu`: those of the instance.
        bottleneck: `device` or `cpu`.
        spot_overhead: share of the work that interruptions make necessary again; None where unknown.
        compute_cost, storage_cost, transfer_cost, cost: in the table's currency.
        possible: whether the deadline can be kept.
    """

    forecast: Forecast
    offer: Offer
    spot: bool
    instances: int
    gpus: int
    hours: float
    gpu_hours: float
    device_s_per_image: float
    speed: float
    speed_at_best: float
    cpu_cores_per_gpu: float
    bottleneck: str
    spot_overhead: float | None
    compute_cost: float
    storage_cost: float
    transfer_cost: float
    possible: bool
    warnings: tuple[str, ...] = field(default=())

    @property
    def cost(self) -> float:
        return self.compute_cost + self.storage_cost + self.transfer_cost


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    instances: int
    hours: float
    num_shards: int
    spot_overhead: float | None
    possible: bool
    warnings: tuple[str, ...]


class Planner:
    """Plans on the offers of a price table, from runs that share a device. Raises UsageError as `plan` does."""

    def __init__(self, runs: Sequence[MeasuredRun], prices: PriceTable, terms: Terms) -> None:
        self.runs, self.prices, self.terms = list(runs), prices, terms
        self.device = runs[0].device
        self.measured_offer = prices.of_device(self.device)
        self.gpus_per_actor = float(runs[0].facts["GPUs per actor"])
        if terms.transfer not in prices.storage.transfer_per_gb:
            raise UsageError(
                f"--transfer {terms.transfer}: the price table has {', '.join(prices.storage.transfer_per_gb)}"
            )

    def comparable(self) -> list[Offer]:
        """Offers that the measured device can be compared with, and that have a price of the kind asked."""
        found = []
        for offer in self.prices.offers.values():
            try:
                self._speed(offer)
            except UsageError:
                continue
            if offer.price(spot=self.terms.spot) is not None:
                found.append(offer)
        return found

    def plan(self, forecast: Forecast, offer: Offer) -> Plan:
        """The cheapest number of instances that keeps the deadline.

        Raises:
            UsageError: the offer cannot be compared with the measured device, or has no spot price.
        """
        price = offer.price(spot=self.terms.spot)
        if price is None:
            raise UsageError(f"--gpu {offer.name}: the price table has no spot price for it; leave out --spot")
        images = forecast.load.images
        speed, at_best, speed_warnings = self._speed(offer)
        per_image_s, cores, bottleneck = self._per_image_s(forecast, offer, speed)
        schedule = self._schedule(images, per_image_s, forecast.start_s, offer)
        storage_cost, transfer_cost = self._storage(images, schedule.num_shards, self.prices.storage)
        warnings = [*forecast.warnings, *speed_warnings]
        if bottleneck == "cpu":
            warnings.append(
                f"{offer.name} has {offer.vcpus_per_gpu:g} vCPUs a GPU, {cores:.1f} would keep it busy: the GPU waits"
            )
        peak_gb = max((run.peak_bytes or 0 for run in self.runs), default=0) / _GB / self.gpus_per_actor
        if peak_gb > offer.memory_gb:
            warnings.append(
                f"{offer.name} has {offer.memory_gb:g} GB, the runs allocated up to {peak_gb:.1f} GB a device"
            )
        gpus = schedule.instances * offer.gpus_per_instance
        return Plan(
            forecast=forecast,
            offer=offer,
            spot=self.terms.spot,
            instances=schedule.instances,
            gpus=gpus,
            hours=schedule.hours,
            gpu_hours=schedule.hours * gpus,
            device_s_per_image=per_image_s * self.gpus_per_actor,
            speed=speed,
            speed_at_best=at_best,
            cpu_cores_per_gpu=cores,
            bottleneck=bottleneck,
            spot_overhead=schedule.spot_overhead,
            compute_cost=schedule.instances * schedule.hours * price,
            storage_cost=storage_cost,
            transfer_cost=transfer_cost,
            possible=schedule.possible,
            warnings=(*warnings, *schedule.warnings),
        )

    def _schedule(self, images: float, per_image_s: float, start_s: float, offer: Offer) -> _Schedule:
        """The fewest instances that keep the deadline, and how long they take: whole shards, none of them shared."""
        terms, warnings = self.terms, []
        num_shards = math.ceil(images / (terms.shard_images or self.runs[0].shard_images))
        shard_s = per_image_s * images / num_shards
        overhead = self._spot_overhead(offer, shard_s, start_s)
        if overhead is None:
            warnings.append(
                f"how often spot instances of {offer.name} are taken back is not known: no interruption is counted; "
                "give --interruptions-per-hour"
            )
        work_s = shard_s * (1 + (overhead or 0.0))
        fixed_s = self.terms.node_start_s + self.outside_s + start_s
        instances, possible = self._instances(num_shards, work_s, fixed_s, offer)
        actors = max(1, math.floor(instances * offer.gpus_per_instance / self.gpus_per_actor))
        hours = (fixed_s + math.ceil(num_shards / actors) * work_s) / 3600
        if not possible:
            warnings.append(f"{offer.name}: {terms.deadline_hours:g} h cannot be kept, {hours:.3g} h is the least")
        return _Schedule(
            instances=instances,
            hours=hours,
            num_shards=num_shards,
            spot_overhead=overhead,
            possible=possible,
            warnings=tuple(warnings),
        )

    def _speed(self, offer: Offer) -> tuple[float, float, list[str]]:
        """Times the measured device, at least and at best, with what is to be said about it."""
        if offer.is_device(self.device):
            return 1.0, 1.0, []
        if self.terms.speed_ratio is not None:
            ratio = self.terms.speed_ratio
            return ratio, ratio, [f"{offer.name} is taken as {ratio:g} times {self.device}, as given by --speed-ratio"]
        ratios = offer.speed_against(self.measured_offer) if self.measured_offer else None
        if ratios is None:
            raise UsageError(
                f"--gpu {offer.name}: the runs were measured on {self.device}, and the price table has no peak and "
                "bandwidth to compare the two; measure on that device, or give --speed-ratio"
            )
        words = (
            f"not measured on {offer.name}: its speed is modelled as {ratios[0]:.2f} times {self.device}'s, by the "
            f"less favourable of published bf16 peak and memory bandwidth ({ratios[1]:.2f} by the other)"
        )
        return *ratios, [words]

    def _per_image_s(self, forecast: Forecast, offer: Offer, speed: float) -> tuple[float, float, str]:
        """Seconds of one device per image, cores that feed a GPU without waiting, and what holds it up.

        On the measured device its waiting is that of the runs; on another one, what too few cores make of it.
        """
        images, stages = forecast.load.images, forecast.stage_s
        busy_s = sum(stages[stage] for stage in DEVICE_STAGES) / images / speed + stages["host"] / images
        decode_s = stages["decode_cpu"] / images
        actors_per_gpu = 1 / self.gpus_per_actor
        cores = actors_per_gpu * (_ACTOR_CPUS + decode_s / busy_s) if busy_s else actors_per_gpu
        if offer.is_device(self.device):
            return busy_s + stages["idle"] / images, cores, "device"
        decoders = max(offer.vcpus_per_gpu / actors_per_gpu - _ACTOR_CPUS, 0.5)
        fed_s = decode_s / decoders
        return max(busy_s, fed_s), cores, "cpu" if fed_s > busy_s else "device"

    def _spot_overhead(self, offer: Offer, shard_s: float, start_s: float) -> float | None:
        """Share of the work done again: an interruption loses two half-done shards' worth and a start.

        None where the rate of interruptions is not known.
        """
        if not self.terms.spot:
            return 0.0
        rate = self.terms.interruptions_per_hour
        rate = offer.interruptions_per_hour if rate is None else rate
        return None if rate is None else rate * (shard_s + start_s + self.terms.node_start_s) / 3600

    def _instances(self, num_shards: int, work_s: float, fixed_s: float, offer: Offer) -> tuple[int, bool]:
        """The fewest instances that keep the deadline, and whether they do."""
        deadline = self.terms.deadline_hours
        if deadline is None:
            return 1, True
        actors_per_instance = offer.gpus_per_instance / self.gpus_per_actor
        rounds = math.floor((deadline * 3600 - fixed_s) / work_s + 1e-9) if work_s else 1
        most = min(_MAX_INSTANCES, math.ceil(num_shards / actors_per_instance))
        if rounds < 1:
            return most, False
        needed = math.ceil(num_shards / rounds / actors_per_instance - 1e-9)
        return (max(needed, 1), True) if needed <= most else (most, False)

    @property
    def outside_s(self) -> float:
        """Wall seconds of a job outside its actors' time, the mean of the runs: planning, starting Ray, merging."""
        known = [run.outside_s for run in self.runs if run.outside_s is not None]
        return sum(known) / len(known) if known else 0.0

    def _storage(self, images: float, num_shards: int, storage: StoragePrices) -> tuple[float, float]:
        """Cost of requests and of keeping the output, and of transfer."""
        read, written = self._mean("bytes_read") * images, self._mean("bytes_written") * images * _OUTPUT_PER_SHARD_BYTE
        reads = num_shards * _READS_PER_SHARD + (images if any(run.images_by_uri for run in self.runs) else 0)
        requests = (
            reads * storage.per_1000_reads / 1000 + num_shards * _WRITES_PER_SHARD * storage.per_1000_writes / 1000
        )
        kept = written / _GB * storage.per_gb_month * self.terms.keep_months
        return requests + kept, (read + written) / _GB * storage.transfer_per_gb[self.terms.transfer]

    def _mean(self, name: str) -> float:
        """Of a figure per image, over all runs' images."""
        return sum(getattr(run, name) * run.images for run in self.runs) / sum(run.images for run in self.runs)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, quality) that no other one beats, by cost."""
    order = sorted(range(len(points)), key=lambda number: (points[number][0], -points[number][1]))
    best, chosen = -math.inf, []
    for number in order:
        if points[number][1] > best:
            best = points[number][1]
            chosen.append(number)
    return chosen
