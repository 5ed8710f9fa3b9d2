"""The model of an actor, alone on its device while it is called, with what every call took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litelvlm.pipeline.shards.payload import Draft, ImageWork
from litelvlm.pipeline.stages.device_clock import DeviceShare
from litelvlm.pipeline.stages.engine import Engine, LoadedModel

if TYPE_CHECKING:
    import torch

    from litelvlm import AnnotationResult


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An image that could be prepared, with drafts of it that the model is asked."""

    image: ImageWork
    drafts: list[Draft]

    @property
    def prepared(self) -> Any:
        """The image's pixels."""
        assert self.image.prepared is not None, "an image without pixels is not asked"
        return self.image.prepared

    @property
    def phrases(self) -> list[str]:
        """As they enter the prompts."""
        return [draft.prompt or "" for draft in self.drafts]


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """What a call returned and took.

    Attributes:
        results: one for each image, as the engine returns them.
        seconds: from the call to its results, with nothing left to do on the device.
        stage_seconds: of these, by stage of the model.
        peak_bytes: most memory of the device allocated at once; None where it has none of its own, or was not asked.
    """

    results: list[AnnotationResult]
    seconds: float
    stage_seconds: dict[str, float]
    peak_bytes: int | None = None


class TimedModel:
    """A model as one shard sees it: its calls hold the device, and their seconds are that shard's.

    Args:
        engine: says how to call.
        annotator: what the engine loaded.
        device: the shard's share of the device's time.
    """

    def __init__(self, engine: Engine, annotator: LoadedModel, device: DeviceShare) -> None:
        self.annotator = annotator
        self.device = device
        self._engine = engine

    def call(self, asked: Sequence[Asked]) -> ModelCall:
        """Annotate the phrases asked of each image; the device is held for that long."""
        with self.device.hold("annotate"):
            return self.run(asked)

    def run(
        self, asked: Sequence[Asked], *, unpruned: bool = False, memory: bool = False, phrase: str | None = None
    ) -> ModelCall:
        """The same on a device that is held already.

        With `memory`, how much of the device's it took at most; with `phrase`, that is asked in place of every other.
        """
        prepared = [one.prepared for one in asked]
        phrases = [one.phrases if phrase is None else [phrase] * len(one.drafts) for one in asked]
        stages_before = dict(self.annotator.stage_seconds)
        if memory:
            self._reset_peak()
        started = self.device.now()
        results = self._engine.annotate(self.annotator, prepared, phrases, unpruned=unpruned)
        stages = dict(self.annotator.stage_seconds)  # on a GPU, this waits for it
        return ModelCall(
            results=results,
            seconds=self.device.now() - started,
            stage_seconds={stage: seconds - stages_before.get(stage, 0.0) for stage, seconds in stages.items()},
            peak_bytes=self._peak_bytes() if memory else None,
        )

    def _reset_peak(self) -> None:
        if (device := cuda_device(self.annotator)) is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    def _peak_bytes(self) -> int | None:
        if (device := cuda_device(self.annotator)) is None:
            return None
        import torch

        return torch.cuda.max_memory_allocated(device)


def cuda_device(annotator: LoadedModel) -> torch.device | None:
    """The device that the annotator's model is on, if that is a GPU; else None."""
    return annotator.device if annotator.device.type == "cuda" else None


def device_name(annotator: LoadedModel) -> str:
    """Name of the device, e.g. `cpu` or `NVIDIA H100 80GB HBM3`."""
    if (device := cuda_device(annotator)) is None:
        return str(annotator.device)
    import torch

    return torch.cuda.get_device_name(device)
