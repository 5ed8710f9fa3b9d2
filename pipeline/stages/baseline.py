"""What pruning saves and what it changes, measured on the user's own images: some are annotated unpruned as well."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from litelvlm.pipeline.masks import EncodedMask, encode_answers, mask_iou, mask_overlap
from litelvlm.pipeline.shards.manifest import Shard, row_hashes, selected_rows
from litelvlm.pipeline.shards.markers import Baseline, MaskPair, Overlap, WayTaken
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardWork
from litelvlm.pipeline.stages.shard_run import model_calls
from litelvlm.pipeline.stages.timed_model import Asked, TimedModel

_WARM_UP_PHRASE = "object"
_WORST_PAIRS = 4  # of a shard, that its marker keeps to be looked at
_MAX_PAIR_CHARS = 100_000  # of run lengths; noise is not worth a large marker


def choose_rows(shards: Iterable[Shard], num_rows: int, sample: float | None) -> dict[str, tuple[int, ...]]:
    """Choose `num_rows` rows of a run by hash, the same ones every time: shard id -> rows of its file."""
    smallest = heapq.nsmallest(num_rows, _hashed(shards, num_rows, sample))
    chosen: dict[str, list[int]] = defaultdict(list)
    for _, shard_id, row in smallest:
        chosen[shard_id].append(row)
    return {shard_id: tuple(sorted(rows)) for shard_id, rows in chosen.items()}


def compare_unpruned(model: TimedModel, work: ShardWork, *, warm_up: bool) -> Baseline | None:
    """Annotate the shard's chosen images pruned and unpruned, on a device that is held, in turns of alternating order.

    Both ways of one call see the same images in the same batch. With `warm_up` the first call is made both ways before
    any is timed, so that neither pays for what a device does once; it asks for something else, since the model
    remembers questions.

    The drafts that were compared get the IoU of their two masks as `agreement`. Returns None when none of the chosen
    rows holds an image.
    """
    compared = work.task.compared_rows
    calls = list(model_calls(image for image in work.images if _holds(image, compared)))
    if not calls:
        return None
    if warm_up:
        for unpruned in (False, True):
            model.run(calls[0], unpruned=unpruned, phrase=_WARM_UP_PHRASE)
    pruned, whole = _Way(unpruned=False), _Way(unpruned=True)
    for number, asked in enumerate(calls, start=work.shard.index):  # a shard may well have one call only
        for way in (pruned, whole) if number % 2 == 0 else (whole, pruned):
            way.run(model, asked)
    drafts = [draft for asked in calls for one in asked for draft in one.drafts]
    iou = [round(mask_iou(a, b), 4) for a, b in zip(pruned.masks, whole.masks, strict=True)]
    for draft, agreement in zip(drafts, iou, strict=True):
        draft.agreement = agreement
    return Baseline(
        images=sum(map(len, calls)),
        phrases=len(iou),
        pruned=pruned.took(),
        unpruned=whole.took(),
        iou=iou,
        pairs=_worst_pairs(iou, drafts, pruned.masks, whole.masks),
        truth=_against_truth(drafts, pruned.masks, whole.masks),
        num_bad_truths=work.num_bad_truths,
    )


@dataclass
class _Way:
    """The calls of one way."""

    unpruned: bool
    seconds: float = 0.0
    llm_s: float = 0.0
    peak_bytes: int | None = None
    masks: list[EncodedMask] = field(default_factory=list)

    def run(self, model: TimedModel, asked: list[Asked]) -> None:
        done = model.run(asked, unpruned=self.unpruned, memory=True)
        self.seconds += done.seconds
        self.llm_s += done.stage_seconds.get("llm", 0.0)
        if done.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, done.peak_bytes)
        self.masks += [mask for result in done.results for mask in encode_answers(result)]

    def took(self) -> WayTaken:
        return WayTaken(s=self.seconds, llm_s=self.llm_s, peak_bytes=self.peak_bytes)


def _worst_pairs(
    iou: list[float], drafts: list[Draft], pruned: list[EncodedMask], unpruned: list[EncodedMask]
) -> list[MaskPair]:
    """The phrases whose masks agree least, with both masks."""
    found: list[MaskPair] = []
    for place in sorted(range(len(iou)), key=lambda place: (iou[place], place)):
        if iou[place] == 1.0 or len(found) == _WORST_PAIRS:
            break
        if len(pruned[place].counts) + len(unpruned[place].counts) <= _MAX_PAIR_CHARS:
            pair = MaskPair(
                source_row=drafts[place].source_row,
                phrase_index=drafts[place].phrase_index,
                iou=iou[place],
                size_hw=pruned[place].size_hw,
                pruned_rle=pruned[place].counts,
                unpruned_rle=unpruned[place].counts,
            )
            found.append(pair)
    return found


def _against_truth(
    drafts: list[Draft], pruned: list[EncodedMask], unpruned: list[EncodedMask]
) -> dict[str, list[Overlap]] | None:
    """The overlap of every mask with the truth, by way; None where no truth is known."""
    if all(draft.truth is None for draft in drafts):
        return None
    return {
        name: [
            None if draft.truth is None else mask_overlap(mask, draft.truth)
            for mask, draft in zip(masks, drafts, strict=True)
        ]
        for name, masks in {"pruned": pruned, "unpruned": unpruned}.items()
    }


def _hashed(shards: Iterable[Shard], num_rows: int, sample: float | None) -> Iterator[tuple[int, str, int]]:
    for shard in shards:
        rows = np.asarray(selected_rows(shard.file, shard.row_start, shard.row_stop, sample), dtype=np.int64)
        hashes = row_hashes(shard.file + "#baseline", rows)
        for position in np.argsort(hashes)[:num_rows]:
            yield int(hashes[position]), shard.shard_id, int(rows[position])


def _holds(image: ImageWork, rows: frozenset[int]) -> bool:
    return any(draft.source_row in rows for draft in image.drafts)
