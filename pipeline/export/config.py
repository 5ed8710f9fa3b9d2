"""What is exported, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Interval

from litelvlm.pipeline.config import ClusterConfig, StorageOptions
from litelvlm.pipeline.settings import Flag, Part, Settings

FORMATS = ("coco-polygons", "yolo-seg", "label-maps", "hf-datasets", "voc", "datumaro", "cvat")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Settings):
    """Settings of `jobs/export.py`."""

    run: Annotated[str, Flag("the --output of a finished run", positional=True)]
    to: Annotated[str, Flag("the format", choices=FORMATS)]
    output: Annotated[str, Flag("directory of the export, new or empty", metavar="DIR")]
    images: Annotated[bool, Flag("the images, too, read once more from where the run read them")] = False
    min_score: Annotated[float, Flag("leave out masks with a lower score"), Interval(ge=0, le=1)] = 0.0
    tolerance: Annotated[
        float, Flag("pixels that an outline may be off, so that it has fewer points; 0 for exact ones"), Ge(0)
    ] = 1.0
    cluster: Annotated[
        ClusterConfig, Part(without=("num_actors", "gpus_per_actor", "batch_images", "wait_for_resources"))
    ] = field(default_factory=ClusterConfig)
    storage_options: StorageOptions = field(default_factory=dict)
