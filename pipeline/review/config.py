"""What `jobs/review.py` is asked to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from litelvlm.pipeline.config import StorageOptions
from litelvlm.pipeline.review.population import STRATA
from litelvlm.pipeline.settings import Flag, Settings

TOOLS = ("label-studio", "cvat", "fiftyone", "coco", "datumaro")
RESOLUTIONS = ("newest", "majority")
METHODS = ("fixed-sequence", "conformal")
UNSEEN = ("as-errors", "left-out")
_MINUTES = re.compile(r"(\d+(?:\.\d+)?)\s*(min|h)")

_Run = Annotated[str, Flag("the --output of a run, finished or not", positional=True)]
_Where = Annotated[
    str | None, Flag("a condition in SQL over records/, such as \"score < 0.6 and category = 'car'\"", metavar="SQL")
]


def parse_budget(given: Any) -> Any:
    """`200`, `90min` or `2h`; the latter two in seconds, below zero. Raises ValueError for none of these."""
    found = _MINUTES.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        return given
    return -round(float(found[1]) * (60 if found[2] == "min" else 3600))


@dataclass(frozen=True, kw_only=True)
class QueueConfig(Settings):
    """Settings of `review.py queue`."""

    run: _Run
    output: Annotated[str, Flag("a .parquet file; a page of pictures is written beside it", metavar="Q.parquet")]
    budget: Annotated[int, Flag("how many to look at; or for how long: 90min, 2h", before=parse_budget)]
    seconds_per_item: Annotated[float, Flag("that a person needs, where the budget is a time"), Gt(0)] = 10.0
    strata: Annotated[str, Flag("what the random part is balanced over", choices=STRATA)] = "category"
    random_share: Annotated[float, Flag("share of the budget that is drawn at random"), Interval(ge=0, le=1)] = 0.3
    seed: Annotated[int, Flag("of the random part"), Ge(0)] = 0
    where: _Where = None
    compare: Annotated[
        str | None,
        Flag("--output of jobs/compare.py: what another run sees otherwise comes first", metavar="DIR"),
    ] = None
    pictures: Annotated[int, Flag("how many items the page shows"), Ge(0)] = 100
    storage_options: StorageOptions = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        """The budget in items."""
        return self.budget if self.budget >= 0 else int(-self.budget / self.seconds_per_item)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.output.endswith(".parquet"):
            raise ValueError(f"--output {self.output}: must name a .parquet file")
        if self.num_items < 1:
            raise ValueError("--budget: is less than one item")


@dataclass(frozen=True, kw_only=True)
class ReviewExportConfig(Settings):
    """Settings of `review.py export`."""

    run: _Run
    to: Annotated[str, Flag("the tool", choices=TOOLS)]
    output: Annotated[str, Flag("directory of the export, new or empty", metavar="DIR")]
    queue: Annotated[str | None, Flag("only the items of a queue", metavar="Q.parquet", unset="all")] = None
    where: _Where = None
    image_base: Annotated[
        str | None, Flag("images are found there, by their names in the run", metavar="URL", unset="see --copy-images")
    ] = None
    copy_images: Annotated[
        bool | None, Flag("write the images, too, upright", unset="where the tool cannot open what the input names")
    ] = None
    push: Annotated[str | None, Flag("make or complete the project on this server", metavar="URL")] = None
    project: Annotated[str | None, Flag("its name there", unset="the run's")] = None
    storage_options: StorageOptions = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class IngestConfig(Settings):
    """Settings of `review.py ingest`."""

    run: _Run
    sources: Annotated[
        tuple[str, ...], Flag("files, directories, zip files", option="--from", metavar="PATH", repeat=True)
    ]
    output: Annotated[str, Flag("directory of the reviews; more can be ingested into it", metavar="REVIEWED")]
    format: Annotated[str, Flag("what wrote them; auto looks")] = "auto"
    queue: Annotated[str | None, Flag("its items that no file mentions are unseen", metavar="Q.parquet")] = None
    partial: Annotated[bool, Flag("leave out what contradicts the run, and list it")] = False
    resolve: Annotated[str, Flag("which of several reviews of an item counts", choices=RESOLUTIONS)] = "newest"
    storage_options: StorageOptions = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AcceptConfig(Settings):
    """Settings of `review.py accept`."""

    run: _Run
    reviewed: Annotated[tuple[str, ...], Flag("what `ingest` wrote", metavar="REVIEWED", repeat=True)]
    output: Annotated[str, Flag("directory of the labels and their certificate", metavar="ACCEPTED")]
    queue: Annotated[str | None, Flag("says which reviews are a random sample", metavar="Q.parquet")] = None
    target_iou: Annotated[float, Flag("a mask below it is an error"), Interval(gt=0, le=1)] = 0.8
    max_error: Annotated[float, Flag("share of errors among what is accepted"), Interval(gt=0, lt=1)] = 0.05
    confidence: Annotated[float, Flag("that the share is no higher"), Interval(gt=0, lt=1)] = 0.95
    method: Annotated[str, Flag("how the set is found", choices=METHODS)] = "fixed-sequence"
    each_stratum: Annotated[bool, Flag("hold the share in every stratum, not over all")] = False
    unseen: Annotated[str, Flag("random items that nobody has seen count as", choices=UNSEEN)] = "as-errors"
    storage_options: StorageOptions = field(default_factory=dict)
