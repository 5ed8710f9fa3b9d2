"""From a forecast on the measured device to instances, hours and money on any device of a price table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.cost_model import DEVICE_STAGES
from litelvlm.pipeline.planner.forecast import Forecast
from litelvlm.pipeline.planner.prices import Offer, PriceTable
from litelvlm.pipeline.planner.runs import MeasuredRun
from litelvlm.pipeline.settings import Flag, Settings

_ACTOR_CPUS = 1.0  # what the pipeline gives an actor; the rest of an instance decodes
_LEAST_DECODING = 0.5  # cores, where an actor has all that there are
_MAX_INSTANCES = 100_000


@dataclass(frozen=True, kw_only=True)
class Terms(Settings):
    """What a plan has to keep to, and what no run can know."""

    section = "on which terms"

    deadline_hours: Annotated[float | None, Flag("the fewest instances that keep it", unset="one instance"), Gt(0)] = (
        None
    )
    shard_images: Annotated[int | None, Flag("rows per shard", unset="as in the runs"), Gt(0)] = None
    node_start_s: Annotated[float, Flag("seconds from asking for an instance to its use"), Ge(0)] = 180.0
    speed_ratio: Annotated[
        float | None, Flag("how many times as fast --gpu is as the measured device", unset="not known"), Gt(0)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One setting on one kind of device.

    Attributes:
        gpus: all of the instances'; hours: until the job has ended; cost: of the instances for so long.
        device_s_per_image: seconds of one device, waiting included.
        speed: times the measured device.
        cpu_cores_per_gpu: cores that feed one GPU without letting it wait.
        possible: whether the deadline can be kept.
    """

    forecast: Forecast
    offer: Offer
    instances: int
    gpus: int
    hours: float
    cost: float
    device_s_per_image: float
    speed: float
    cpu_cores_per_gpu: float
    possible: bool
    warnings: tuple[str, ...] = field(default=())


class Planner:
    """Plans on the offers of a price table, from runs that share a device."""

    def __init__(self, runs: Sequence[MeasuredRun], prices: PriceTable, terms: Terms) -> None:
        self.runs, self.prices, self.terms = list(runs), prices, terms
        self.device = runs[0].device
        self.gpus_per_actor = float(runs[0].facts["GPUs per actor"])
        known = [run.outside_s for run in runs if run.outside_s is not None]
        #: Wall seconds of a job outside its actors' time, the mean of the runs: planning, starting Ray, merging.
        self.outside_s = sum(known) / len(known) if known else 0.0

    def measured_offer(self) -> Offer:
        """The device of the runs. Raises UsageError where the price table does not have it."""
        offer = self.prices.of_device(self.device)
        if offer is None:
            raise UsageError(f"the price table does not have {self.device}; give --gpu and --speed-ratio")
        return offer

    def plan(self, forecast: Forecast, offer: Offer) -> Plan:
        """The fewest instances that keep the deadline, and how long they take: whole shards, none of them shared.

        Raises UsageError where nothing tells how fast the offer is.
        """
        images, terms = forecast.load.images, self.terms
        speed, warnings = self._speed(offer)
        per_image_s, cores = self._per_image_s(forecast, offer, speed)
        num_shards = math.ceil(images / (terms.shard_images or self.runs[0].shard_images))
        shard_s = per_image_s * images / num_shards
        fixed_s = terms.node_start_s + self.outside_s + forecast.start_s
        instances, possible = self._instances(num_shards, shard_s, fixed_s, offer)
        actors = max(1, math.floor(instances * offer.gpus_per_instance / self.gpus_per_actor))
        hours = (fixed_s + math.ceil(num_shards / actors) * shard_s) / 3600
        if not offer.is_device(self.device) and cores > max(offer.vcpus_per_gpu, _ACTOR_CPUS + _LEAST_DECODING):
            vcpus = f"{offer.name} has {offer.vcpus_per_gpu:g} vCPUs a GPU"
            warnings.append(f"{vcpus}, {cores:.1f} would keep it busy: the GPU waits")
        if not possible:
            warnings.append(f"{offer.name}: {terms.deadline_hours:g} h cannot be kept, {hours:.3g} h is the least")
        return Plan(
            forecast=forecast,
            offer=offer,
            instances=instances,
            gpus=instances * offer.gpus_per_instance,
            hours=hours,
            cost=instances * hours * offer.on_demand,
            device_s_per_image=per_image_s * self.gpus_per_actor,
            speed=speed,
            cpu_cores_per_gpu=cores,
            possible=possible,
            warnings=(*forecast.warnings, *warnings),
        )

    def _speed(self, offer: Offer) -> tuple[float, list[str]]:
        """Times the measured device, with what is to be said about it."""
        ratio = self.terms.speed_ratio
        if offer.is_device(self.device):
            return 1.0, []
        if ratio is None:
            raise UsageError(
                f"--gpu {offer.name}: the runs were measured on {self.device}; measure on that device, "
                "or give --speed-ratio"
            )
        return ratio, [f"{offer.name} is taken as {ratio:g} times {self.device}, as given by --speed-ratio"]

    def _per_image_s(self, forecast: Forecast, offer: Offer, speed: float) -> tuple[float, float]:
        """Seconds of one device per image, and cores that feed a GPU without letting it wait.

        On the measured device its waiting is that of the runs; on another one, what too few cores make of it.
        """
        images, stages = forecast.load.images, forecast.stage_s
        busy_s = sum(stages[stage] for stage in DEVICE_STAGES) / images / speed + stages["host"] / images
        decode_s = stages["decode_cpu"] / images
        cores = (_ACTOR_CPUS + (decode_s / busy_s if busy_s else 0.0)) / self.gpus_per_actor
        if offer.is_device(self.device):
            return busy_s + stages["idle"] / images, cores
        decoders = max(offer.vcpus_per_gpu * self.gpus_per_actor - _ACTOR_CPUS, _LEAST_DECODING)
        return max(busy_s, decode_s / decoders), cores

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
