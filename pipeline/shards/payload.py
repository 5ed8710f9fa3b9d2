"""What travels between the stages of the pipeline: one object in one row of a Ray block, mostly a shard."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.ontology import ClassPrompt
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import Baseline, Marker, ShardFacts
from litelvlm.pipeline.shards.read import SourceRow

_PAYLOAD = "payload"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says to one phrase, and the signals that come with it; none that describe an empty mask.

    `is_absent` is whether it says that there is no such object; the mask is empty then.
    """

    mask: EncodedMask
    score: float
    num_visual_tokens: int
    num_retained_tokens: int
    signals: dict[str, float | int | None] = field(default_factory=dict)
    is_absent: bool = False


@dataclass(kw_only=True)
class Draft:
    """A record to be: one phrase of one input row. `prompt` is set when it can be annotated, `error` when it cannot.

    `answer` is the model's, once it has been asked; `truth` the true mask, where the input has one and it is compared.
    `asks` is the class that the phrase is of, where the run has an ontology; `dropped` why the answer does not stand.
    """

    source_row: int
    phrase_index: int
    phrase: str
    prompt: str | None = None
    error: str | None = None
    answer: Answer | None = None
    truth: EncodedMask | None = None
    truth_error: str | None = None  # why there is none, where something was given
    asks: ClassPrompt | None = None
    dropped: str | None = None
    agreement: float | None = None  # IoU with the unpruned answer, where the two were compared


@dataclass(kw_only=True)
class ImageWork:
    """An image with its phrases, from one row or from adjacent rows of the same image.

    `prepared` is what the model's preprocessor made of it; None when the image or all of its phrases failed. `height`
    and `width` are those of the upright image in pixels, `hash` its perceptual hash; None where it could not be
    decoded. `uri` is where the input has it, fit to be shown.
    """

    image_id: str
    image_key: str  # hash of id and content: the identity of the image within a run
    file_name: str
    drafts: list[Draft]
    height: int | None = None
    width: int | None = None
    notes: str | None = None
    prepared: Any = None
    uri: str | None = None
    hash: str | None = None

    @property
    def asked(self) -> list[Draft]:
        """The drafts whose phrases the model is asked."""
        if self.prepared is None:
            return []
        return [one for one in self.drafts if one.prompt is not None and one.error is None and one.dropped is None]

    def fail(self, reason: str) -> None:
        """Fail every phrase that has not failed for a reason of its own, and is not dropped."""
        for draft in self.drafts:
            if draft.dropped is None:
                draft.error = draft.error or reason
        self.prepared = None


class Decision(NamedTuple):
    """What reviewers said of a phrase of an image, for which it is not asked."""

    image_id: str
    phrase: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class RowsRead:
    """The rows of a shard, read together with others of its row group, and its part of the seconds that took."""

    rows: list[SourceRow]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard on its way to be decoded.

    `compared_rows` are annotated unpruned as well; of `truth_rows`, None being all, the true masks are read. Both are
    rows of the shard's file. `decided`: row -> position of a phrase -> decision for which it is not asked.
    `prior_kills`: stage -> deaths in earlier sessions. `read`: its rows, where another stage has read them.
    """

    shard: Shard
    read: RowsRead | None = None
    decided: dict[int, dict[int, Decision]] = field(default_factory=dict)
    prior_kills: dict[str, int] = field(default_factory=dict)
    compared_rows: frozenset[int] = frozenset()
    truth_rows: frozenset[int] | None = frozenset()

    def reads_truth_of(self, row: int) -> bool:
        """Whether the true masks of a row are wanted."""
        return self.truth_rows is None or row in self.truth_rows


@dataclass(kw_only=True)
class ShardWork:
    """A shard on its way to the model: `seconds` by stage are those of decoding, and `bytes_read` are its images'."""

    task: ShardTask
    images: list[ImageWork]
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_read: int = 0
    num_bad_truths: int = 0  # rows whose true masks cannot be read
    sent_at: float = 0.0  # seconds since the epoch, to tell how long it waited

    @property
    def shard(self) -> Shard:
        return self.task.shard


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A shard on its way to storage: records as rows of `SHARD_SCHEMA`, and what the throughput table wants to know."""

    shard: Shard
    records: list[dict[str, Any]]
    seconds: dict[str, float]
    facts: ShardFacts
    baseline: Baseline | None = None


@dataclass(frozen=True, kw_only=True)
class DoneShard:
    """A shard that somebody has committed already: its marker goes to the driver, untouched by the stages."""

    marker: Marker


def pack(payload: Any) -> pa.Table:
    """One row that holds any picklable object."""
    return pa.table({_PAYLOAD: pa.array([pickle.dumps(payload, protocol=5)], type=pa.large_binary())})


def unpack(table: pa.Table) -> Any:
    """The object of a table that `pack` made."""
    assert table.num_rows == 1, "a batch must hold exactly one payload"
    return pickle.loads(table.column(_PAYLOAD)[0].as_buffer())


def unpack_payload(row: dict[str, Any]) -> Any:
    """The object of such a row, as Ray Data hands it to the driver."""
    return pickle.loads(row[_PAYLOAD])
