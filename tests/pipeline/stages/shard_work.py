"""Shards on their way to a model, made by hand."""

from __future__ import annotations

from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardTask, ShardWork
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.timed_model import TimedModel
from tests.fakes import FakeAnnotator, FakeEngine
from tests.pipeline.samples import picture

SHARD = Shard(
    shard_id="s",
    index=0,
    file="f",
    id_prefix="f",
    row_group=0,
    row_group_start=0,
    row_start=0,
    row_stop=99,
    num_rows=99,
)


def image_work(number: int, *phrases: str) -> ImageWork:
    """A prepared image with phrases that can be asked."""
    rgb = picture(number)
    drafts = [Draft(source_row=number, phrase_index=at, phrase=one, prompt=one) for at, one in enumerate(phrases)]
    return ImageWork(
        image_id=str(number), image_key=str(number), file_name=f"{number}.png", drafts=drafts,
        height=rgb.shape[0], width=rgb.shape[1], prepared=rgb,
    )  # fmt: skip


def shard_work(images: list[ImageWork], **task: object) -> ShardWork:
    """A shard of these images."""
    return ShardWork(task=ShardTask(shard=SHARD, **task), images=images)


def timed_model(engine: FakeEngine) -> TimedModel:
    """The fake model on a device that is ready."""
    clock = DeviceClock()
    clock.ready()
    return TimedModel(engine, FakeAnnotator(), DeviceShare(clock))
