"""How prompts are laid end to end: pure planning over token ids, in NumPy and without tensors.

Lengths and places are counted without the tokens before the image, which all prompts share and which are computed once.
A prompt is its visual tokens and then text: one span of it, or in the layout `shared` a span for each branch. With
branches, the visual tokens of all prompts come first and all text behind them, so that both are slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litelvlm.prompts import Prompt

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PackPlan:
    """N prompts of T tokens together; of each prompt first its R visual tokens, then text. All arrays are int64.

    Attributes:
        prefix_ids: what all prompts begin with.
        num_retained: R.
        text_ids: token ids of all text after the images that has to be computed.
        text_places, visual_places: where text and visual tokens stand among the T, prompt by prompt.
        position_ids: T; those of visual tokens are as if they were compact.
        rows, columns: T, each token's prompt and its place there.
        branches: T, 0 for what all see, else the number of the branch; None where there are no branches.
        span_lengths: tokens of each span of text, prompt by prompt.
        span_rows: each span's prompt.
        read: which of the T tokens' last hidden states are read, prompt by prompt.
        read_slots: each one's number within its prompt.
    """

    prefix_ids: tuple[int, ...]
    num_retained: int
    text_ids: Places
    text_places: Places
    visual_places: Places
    position_ids: Places
    rows: Places
    columns: Places
    branches: Places | None
    span_lengths: Places
    span_rows: Places
    read: Places
    read_slots: Places

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.rows)

    @property
    def num_prompts(self) -> int:
        """N."""
        return len(self.visual_places) // self.num_retained

    @property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return int(self.columns.max()) + 1

    @property
    def num_slots(self) -> int:
        """The most that is read of one prompt."""
        return int(self.read_slots.max()) + 1


def packed_length(prompt: Prompt, num_retained: int) -> int:
    """Tokens that must be computed: after the common prefix, up to the one just before the last `[SEG]`, and of every
    branch up to the one just before its own."""
    return num_retained + sum(stop - start for start, stop in _spans(prompt))


def plan_packing(prompts: Sequence[Prompt], num_retained: int, *, text_start: int) -> PackPlan:
    """Lays prompts end to end.

    Args:
        prompts: all with the same tokens before the image, and all with branches or all without.
        num_retained: R, visual tokens kept in each.
        text_start: position id, counted from the image's, of the first token after the visual ones: R, or V where kept
            tokens carry the ids that they have in the unpruned prompt.
    """
    prefix = prompts[0].input_ids[: prompts[0].image_index]
    assert all(prompt.input_ids[: prompt.image_index] == prefix for prompt in prompts), "prompts begin differently"
    has_branches = bool(prompts[0].branch_starts)
    assert all(bool(prompt.branch_starts) == has_branches for prompt in prompts), "some prompts have branches"
    spans = [_spans(prompt) for prompt in prompts]
    lengths = np.array([stop - start for own in spans for start, stop in own], dtype=np.int64)
    span_rows = np.repeat(np.arange(len(prompts)), [len(own) for own in spans])
    text_lengths = np.bincount(span_rows, lengths, len(prompts)).astype(np.int64)
    visual_places, text_places = _places(text_lengths, num_retained, apart=has_branches)
    within_span, ends_of_span = _ramps(lengths), np.cumsum(lengths)
    first_of_prompt = np.repeat(np.cumsum(text_lengths) - text_lengths, text_lengths)
    read, read_slots = _reads(prompts, ends_of_span, ends_of_span - lengths)
    raster = np.tile(np.arange(num_retained), len(prompts))
    merged = _Merged(visual_places, text_places)
    return PackPlan(
        prefix_ids=tuple(prefix),
        num_retained=num_retained,
        text_ids=_text_ids(prompts, spans),
        text_places=text_places,
        visual_places=visual_places,
        position_ids=len(prefix) + merged(raster, text_start + within_span),
        rows=merged(np.repeat(np.arange(len(prompts)), num_retained), np.repeat(span_rows, lengths)),
        columns=merged(raster, num_retained + np.arange(len(text_places)) - first_of_prompt),
        branches=merged(np.zeros_like(raster), np.repeat(1 + _numbers(span_rows), lengths)) if has_branches else None,
        span_lengths=lengths,
        span_rows=span_rows,
        read=text_places[read],
        read_slots=read_slots,
    )


@dataclass(frozen=True)
class _Merged:
    """Values of visual tokens and of text, put in the order of the T tokens."""

    visual_places: Places
    text_places: Places

    def __call__(self, visual: Places, text: Places) -> Places:
        merged = np.empty(len(self.visual_places) + len(self.text_places), dtype=np.int64)
        merged[self.visual_places], merged[self.text_places] = visual, text
        return merged


def _spans(prompt: Prompt) -> list[tuple[int, int]]:
    """Where in `input_ids` the text that must be computed starts and stops: with the last state that is read."""

    def stop(seg_index: int) -> int:
        return seg_index + 1 - prompt.read_offset

    if prompt.branch_starts:
        return [(start, stop(seg)) for start, seg in zip(prompt.branch_starts, prompt.seg_indices, strict=True)]
    return [(prompt.image_index + 1, stop(prompt.seg_indices[-1]))]


def _places(text_lengths: Places, num_retained: int, *, apart: bool) -> tuple[Places, Places]:
    """Places of the visual tokens and of text, prompt by prompt: side by side, or all text behind all images."""
    num_prompts, num_text = len(text_lengths), int(text_lengths.sum())
    if apart:
        num_visual = num_prompts * num_retained
        return np.arange(num_visual), num_visual + np.arange(num_text)
    text_before = np.cumsum(text_lengths) - text_lengths
    numbers = np.arange(num_prompts)
    visual = np.repeat(text_before, num_retained) + np.arange(num_prompts * num_retained)
    return visual, np.repeat((numbers + 1) * num_retained, text_lengths) + np.arange(num_text)


def _reads(prompts: Sequence[Prompt], ends_of_span: Places, first_of_span: Places) -> tuple[Places, Places]:
    """Which of all text tokens' states become mask prompts, and each one's number within its prompt."""
    numbers = _ramps(np.array([len(prompt.seg_indices) for prompt in prompts]))
    if prompts[0].branch_starts:
        return ends_of_span - 1, numbers
    places = [
        np.array(prompt.seg_indices) - prompt.read_offset - (prompt.image_index + 1) + first
        for prompt, first in zip(prompts, first_of_span, strict=True)
    ]
    return np.concatenate(places), numbers


def _text_ids(prompts: Sequence[Prompt], spans: Sequence[list[tuple[int, int]]]) -> Places:
    parts = [prompt.input_ids[start:stop] for prompt, own in zip(prompts, spans, strict=True) for start, stop in own]
    return np.array([token for part in parts for token in part], dtype=np.int64)


def _ramps(lengths: Places) -> Places:
    """0, 1, … of each length, end to end."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _numbers(rows: Places) -> Places:
    """Each item's number among those of its row; rows ascend."""
    return _ramps(np.bincount(rows))
