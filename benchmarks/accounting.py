"""Operations of annotating: those that the answer needs, and those that the engine runs for it.

Multiplications and additions of matrix products and convolutions, two of them a pair. *Needed* is every token once,
with the keys that it sees: no padding, in the last layer only what is read, in SAM's windows only patches of the image.
*Executed* is what the engine's batches hold: rows as long as the longest prompt, attention over all of a row, windows
and texts padded, all visual tokens projected. The prefix that all prompts begin with is computed once for a model, and
what comes after the last position that is read never: neither counts in either. Padding within a kernel (tiles, head
sizes) is no operation of the batch and does not count; nor do run lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from litelvlm import Annotator, PruningConfig
from litelvlm.clip_tokenizer import cut_texts, text_lengths
from litelvlm.config import GlammConfig, LlmSizes, PromptTemplate, SamSizes
from litelvlm.engine.packing import packed_length
from litelvlm.flops import (
    clip_text_flop,
    clip_vision_flop,
    mask_prompt_flop,
    phrase_mask_decoder_flop,
    projector_flop,
    sam_encoder_flop,
    sam_padding_flop,
    sam_projection_padding_flop,
)
from litelvlm.preprocess import PreparedImage
from litelvlm.prompts import Prompt, build_prompts


@dataclass(frozen=True, kw_only=True)
class PromptShape:
    """Lengths of a prompt, in tokens.

    Attributes:
        prefix: before the image, as in every prompt.
        trunk: visual tokens kept and, unless there are branches, the text behind them up to the last one that is read.
        branches: of each branch up to the one that is read; a branch sees prefix, trunk and itself.
        seen: how many tokens each one that is read sees, itself included.
        packed: what the engine computes of it, `[SEG]`s between branches included where it does.
    """

    prefix: int
    trunk: int
    branches: tuple[int, ...]
    seen: tuple[int, ...]
    packed: int

    @property
    def num_tokens(self) -> int:
        """Needed ones, the prefix left out."""
        return self.trunk + sum(self.branches)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Of one call to the engine."""

    needed: float
    executed: float

    @property
    def waste(self) -> float:
        """Share of what is executed that is not needed."""
        return 1 - self.needed / self.executed


def count_call(
    annotator: Annotator,
    records: Sequence[tuple[PreparedImage, list[str]]],
    pruning: PruningConfig,
    layout: str,
) -> Operations:
    """Operations of annotating these records in one call with nothing remembered but the prefix.

    Args:
        annotator: whose tokenisers and sizes count.
        records: prepared images with their phrases.
        pruning: a rule that chooses before the language model.
        layout: of the prompts.
    """
    config, texts = annotator.config, {PromptTemplate().ask(phrase) for _, phrases in records for phrase in phrases}
    shapes = prompt_shapes(annotator, records, pruning, layout)
    num_phrases = sum(len(shape.seen) for shape in shapes)
    is_scored = not pruning.is_unpruned(config.num_visual_tokens)
    both = len(records) * clip_vision_flop(config.clip) + num_phrases * (
        phrase_mask_decoder_flop(config.sam) + mask_prompt_flop(config)
    )
    needed = executed = both
    needed += len(records) * sam_needed_flop(config.sam) + llm_needed_flop(config.llm, shapes)
    sam, llama = formulation_of(annotator)
    executed += len(records) * sam_executed_flop(config.sam, sam)
    executed += llm_executed_flop(config.llm, shapes) if llama == "padded" else llm_needed_flop(config.llm, shapes)
    kept = min(config.num_visual_tokens, len(shapes) / len(records) * pruning.budget(config.num_visual_tokens))
    needed += len(records) * kept * _projector_token_flop(config)
    executed += len(records) * config.num_visual_tokens * _projector_token_flop(config)
    if is_scored:
        tokens = annotator.clip_tokenizer(sorted(texts))
        needed += sum(clip_text_flop(config.clip, length) for length in text_lengths(tokens).tolist())
        executed += len(texts) * clip_text_flop(config.clip, cut_texts(tokens).shape[1])
    return Operations(needed=needed, executed=executed)


def formulation_of(annotator: Annotator) -> tuple[str, str]:
    """How the engine computes SAM's attention (a kind without "+compiled") and LLaMA's ("padded": in rows, or not).

    An engine that does not tell has one formulation for each kind of device.
    """
    told: Any = getattr(annotator, "formulation", None)
    if told is None:
        return ("folded" if annotator.device.type == "cuda" else "plain"), "padded"
    return str(told.sam).partition("+")[0], str(told.llama)


def prompt_shapes(
    annotator: Annotator, records: Iterable[tuple[PreparedImage, list[str]]], pruning: PruningConfig, layout: str
) -> list[PromptShape]:
    """Of all prompts of these records, with the default template."""
    tokenizer, num_visual = annotator.preprocessor.tokenizer, annotator.num_visual_tokens
    room = annotator.config.llm.max_position_embeddings - num_visual
    return [
        prompt_shape(prompt, pruning.budget(num_visual))
        for _, phrases in records
        for prompt in build_prompts(phrases, PromptTemplate(), tokenizer, layout=layout, max_text_tokens=room)
    ]


def prompt_shape(prompt: Prompt, num_retained: int) -> PromptShape:
    """Of a prompt that keeps so many visual tokens; what is read stands just before each `[SEG]`."""
    prefix, image = prompt.image_index, prompt.image_index + 1
    places = [segment - image + num_retained for segment in prompt.seg_indices]
    packed = packed_length(prompt, num_retained)
    if not prompt.branch_starts:
        seen = tuple(prefix + place for place in places)
        return PromptShape(prefix=prefix, trunk=places[-1], branches=(), seen=seen, packed=packed)
    branches = tuple(end - start for start, end in zip(prompt.branch_starts, prompt.seg_indices, strict=True))
    seen = tuple(prefix + num_retained + branch for branch in branches)
    return PromptShape(prefix=prefix, trunk=num_retained, branches=branches, seen=seen, packed=packed)


def llm_needed_flop(sizes: LlmSizes, shapes: Iterable[PromptShape]) -> float:
    """LLaMA over prompts: every token in all layers but the last, of which keys, values and what is read."""
    pairs = pairs_read = tokens = reads = 0
    for shape in shapes:
        tokens, reads = tokens + shape.num_tokens, reads + len(shape.seen)
        pairs += _causal_pairs(shape.prefix, shape.trunk)
        pairs += sum(_causal_pairs(shape.prefix + shape.trunk, branch) for branch in shape.branches)
        pairs_read += sum(shape.seen)
    return _llm_flop(sizes, tokens, reads, pairs, pairs_read)


def llm_executed_flop(sizes: LlmSizes, shapes: Sequence[PromptShape]) -> float:
    """The same in rows as long as the longest prompt, whose attention is a rectangle, branches included."""
    width = max(shape.packed for shape in shapes)
    columns, slots = shapes[0].prefix + width, max(len(shape.seen) for shape in shapes)
    tokens, reads = sum(shape.packed for shape in shapes), sum(len(shape.seen) for shape in shapes)
    return _llm_flop(sizes, tokens, reads, len(shapes) * width * columns, len(shapes) * slots * columns)


def sam_needed_flop(sizes: SamSizes) -> float:
    """SAM's image encoder over one image, for patches of the image alone; a window's padding is seen by them."""
    return sam_encoder_flop(sizes) - sam_padding_flop(sizes)


def sam_executed_flop(sizes: SamSizes, kind: str) -> float:
    """The same as it is run: "plain" pads windows ahead of the products, "kernel" not at all, others behind them."""
    if kind == "kernel":
        return sam_needed_flop(sizes)
    return sam_encoder_flop(sizes) - (sam_projection_padding_flop(sizes) if kind != "plain" else 0)


def _llm_flop(sizes: LlmSizes, tokens: int, reads: int, pairs: int, pairs_read: int) -> float:
    """Of so many tokens and pairs of them in all layers but the last, and there of those that are read."""
    width, layers = sizes.hidden_size, sizes.num_hidden_layers - 1
    keys_values = 4 * width * width * sizes.num_key_value_heads // sizes.num_attention_heads
    others = 4 * width**2 + 6 * width * sizes.intermediate_size
    products = layers * tokens * (keys_values + others) + tokens * keys_values + reads * others
    return products + 4 * width * (layers * pairs + pairs_read)


def _causal_pairs(before: int, length: int) -> int:
    """Pairs of a token and one that it sees: `length` of them behind `before` others."""
    return length * before + length * (length + 1) // 2


def _projector_token_flop(config: GlammConfig) -> float:
    return projector_flop(config) / config.num_visual_tokens
