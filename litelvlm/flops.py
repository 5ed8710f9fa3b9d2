"""How many floating-point operations annotating needs, from the sizes of the model alone.

Counted are matrix products and convolutions, a multiplication and an addition being two operations, of the plain
forward pass: attention over all pairs of a sequence, every prompt whole, no `lm_head`. The engine leaves out some of
that (the system prompt of later prompts, the last layer's unread states, padding of SAM's windows), so that needed
operations over time overstate by a few percent how busy the device was. They are a model, not a measurement; tests hold
the formulas against `torch.utils.flop_counter`.
"""

from __future__ import annotations

from dataclasses import dataclass

from litelvlm.config import ClipSizes, GlammConfig, LlmSizes, SamSizes

_MASK_TOKENS = 4  # of SAM's mask decoder: one mask and three for ambiguous prompts
_DECODER_LAYERS = 2
_CROSS_ATTENTION_DOWNSAMPLE = 2


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What was annotated, added up over any number of calls.

    Attributes:
        images: encoded once each.
        prompts: sequences of the language model.
        phrases: masks decoded.
        retained_tokens, text_tokens: over all prompts together.
        scored_texts: questions that CLIP's text tower scored; 0 without pruning.
        shared: whether prompts are of the layout `shared`, whose branches do not see each other.
    """

    images: int
    prompts: int
    phrases: int
    retained_tokens: int
    text_tokens: int
    scored_texts: int = 0
    shared: bool = False


def needed_flop(config: GlammConfig, work: Workload) -> dict[str, float]:
    """Operations by stage of the engine's clock.

    Sequences count as equally long, and branches, too: attention is 1 to 3 % of the language model's work, and what
    their spread adds to it is less than that again.
    """
    return {
        "clip": work.images * clip_vision_flop(config.clip),
        "prune": work.scored_texts * clip_text_flop(config.clip),
        "llm": work.images * projector_flop(config)
        + _prefill_of(config.llm, work)
        + work.phrases * mask_prompt_flop(config),
        "sam": work.images * sam_encoder_flop(config.sam),
        "decode_masks": work.phrases * mask_decoder_flop(config.sam),
    }


def prefill_flop(sizes: LlmSizes, num_tokens: int) -> float:
    """LLaMA over one sequence of this many tokens."""
    return _linear_flop(sizes) * num_tokens + _attention_flop(sizes) * num_tokens**2


def shared_prefill_flop(sizes: LlmSizes, prefix_tokens: float, branch_tokens: float, num_branches: float) -> float:
    """LLaMA over one prefix and its branches, each of which sees the prefix and itself."""
    num_tokens = prefix_tokens + branch_tokens * num_branches
    pairs = prefix_tokens**2 + num_branches * branch_tokens * (prefix_tokens + branch_tokens)
    return _linear_flop(sizes) * num_tokens + _attention_flop(sizes) * pairs


def clip_vision_flop(sizes: ClipSizes) -> float:
    """CLIP's vision tower over one image: all blocks but the last, the last one's keys and values, the projection."""
    num_tokens, width = sizes.num_patches + 1, sizes.vision_width
    embed = 2 * sizes.num_patches * 3 * sizes.patch_size**2 * width
    blocks = (sizes.vision_layers - 1) * _block_flop(num_tokens, width, sizes.vision_mlp_dim)
    last = 2 * (1 + 2 * sizes.num_patches) * width**2
    context = 2 * sizes.num_patches * width
    return embed + blocks + last + context + 2 * sizes.num_patches * width * sizes.embed_dim


def clip_text_flop(sizes: ClipSizes, num_tokens: int | None = None) -> float:
    """CLIP's text tower over one text; of the context length by default, which is the most: the engine cuts texts."""
    length = sizes.context_length if num_tokens is None else num_tokens
    blocks = sizes.text_layers * _block_flop(length, sizes.text_width, sizes.text_mlp_dim)
    return blocks + 2 * sizes.text_width * sizes.embed_dim


def projector_flop(config: GlammConfig) -> float:
    """The projector over all visual tokens of one image."""
    width = config.llm.hidden_size
    second = 0 if config.description.projector == "linear" else width**2
    return 2 * config.num_visual_tokens * (config.clip.vision_width * width + second)


def mask_prompt_flop(config: GlammConfig) -> float:
    """`text_hidden_fcs` for one phrase."""
    width = config.llm.hidden_size
    return 2 * (width**2 + width * config.sam.output_channels)


def sam_encoder_flop(sizes: SamSizes) -> float:
    """SAM's image encoder over one image, its windows padded as in the release."""
    grid, width = sizes.grid_size, sizes.hidden_size
    num_patches = grid**2
    mlp = 2 * num_patches * 2 * width * 4 * width
    num_global = len(sizes.global_attn_indexes)
    layers = num_global * (_sam_attention_flop(grid, 1, width) + mlp)
    if sizes.num_hidden_layers > num_global:
        num_windows = (-(-grid // sizes.window_size)) ** 2
        windowed = _sam_attention_flop(sizes.window_size, num_windows, width) + mlp
        layers += (sizes.num_hidden_layers - num_global) * windowed
    embed = 2 * num_patches * 3 * sizes.patch_size**2 * width
    neck = 2 * num_patches * sizes.output_channels * (width + 9 * sizes.output_channels)
    return embed + layers + neck


def sam_padding_flop(sizes: SamSizes) -> float:
    """What of `sam_encoder_flop` only padded positions cost: their projections, and their queries' attention.

    They are keys, too, and as such are needed: what real queries pay to them is not counted here.
    """
    grid, side = sizes.grid_size, sizes.window_size
    padded = (-(-grid // side) * side) ** 2 - grid**2
    return _num_windowed(sizes) * padded / side**2 * _sam_attention_flop(side, 1, sizes.hidden_size)


def sam_projection_padding_flop(sizes: SamSizes) -> float:
    """The part of `sam_padding_flop` that projections are."""
    grid, side = sizes.grid_size, sizes.window_size
    padded = (-(-grid // side) * side) ** 2 - grid**2
    return _num_windowed(sizes) * padded * 2 * 4 * sizes.hidden_size**2


def mask_decoder_flop(sizes: SamSizes) -> float:
    """SAM's mask decoder for one phrase: a prompt token, the IoU token and the mask tokens against the whole image."""
    width, num_patches = sizes.mask_decoder_hidden_size, sizes.grid_size**2
    num_tokens = 1 + 1 + _MASK_TOKENS
    inner = width // _CROSS_ATTENTION_DOWNSAMPLE
    cross = _attend_flop(num_tokens, num_patches, width, inner)
    layer = (
        _attend_flop(num_tokens, num_tokens, width, width)
        + cross
        + 4 * num_tokens * width * sizes.mask_decoder_mlp_dim
        + _attend_flop(num_patches, num_tokens, width, inner)
    )
    upscale = 2 * num_patches * 4 * (width * width // 4 + 4 * (width // 4) * (width // 8))
    heads = 2 * _MASK_TOKENS * (2 * width**2 + width * width // 8)
    iou = 2 * (width * sizes.iou_head_hidden_dim + sizes.iou_head_hidden_dim**2 + sizes.iou_head_hidden_dim * 4)
    masks = 2 * _MASK_TOKENS * (width // 8) * 16 * num_patches
    positions = 2 * num_patches * 2 * (sizes.output_channels // 2)
    return _DECODER_LAYERS * layer + cross + upscale + heads + iou + masks + positions


def phrase_mask_decoder_flop(sizes: SamSizes) -> float:
    """The same as `litelvlm.mask_decoder` runs it: projections folded into the few tokens, one mask of four."""
    width, num_patches = sizes.mask_decoder_hidden_size, sizes.grid_size**2
    num_tokens, num_heads = 1 + 1 + _MASK_TOKENS, sizes.mask_decoder_num_attention_heads
    inner = width // _CROSS_ATTENTION_DOWNSAMPLE
    cross = 8 * width * inner + 4 * num_heads * width * num_patches  # for a token of the phrase
    own = _attend_flop(num_tokens, num_tokens, width, width) + 4 * num_tokens * width * sizes.mask_decoder_mlp_dim
    upscale = 2 * num_patches * 4 * (width * width // 4 + 4 * (width // 4) * (width // 8))
    head = 2 * (2 * width**2 + width * width // 8)
    iou = 2 * (width * sizes.iou_head_hidden_dim + sizes.iou_head_hidden_dim**2 + sizes.iou_head_hidden_dim * 4)
    mask = 2 * (width // 8) * 16 * num_patches
    return _DECODER_LAYERS * (own + 2 * num_tokens * cross) + 2 * cross + upscale + head + iou + mask


def _num_windowed(sizes: SamSizes) -> int:
    return sizes.num_hidden_layers - len(sizes.global_attn_indexes)


def _prefill_of(sizes: LlmSizes, work: Workload) -> float:
    if not work.prompts:
        return 0.0
    tokens = (work.retained_tokens + work.text_tokens) / work.prompts
    if not work.shared:
        return work.prompts * (_linear_flop(sizes) * tokens + _attention_flop(sizes) * tokens**2)
    prefix = work.retained_tokens / work.prompts
    branches = work.phrases / work.prompts
    return work.prompts * shared_prefill_flop(sizes, prefix, work.text_tokens / max(work.phrases, 1), branches)


def _linear_flop(sizes: LlmSizes) -> float:
    """All linear layers, for one token."""
    width, heads = sizes.hidden_size, sizes.num_attention_heads
    attention = width * (2 * width + 2 * width * sizes.num_key_value_heads // heads)
    return 2 * sizes.num_hidden_layers * (attention + 3 * width * sizes.intermediate_size)


def _attention_flop(sizes: LlmSizes) -> float:
    """All layers' attention, for one pair of tokens."""
    return 4 * sizes.num_hidden_layers * sizes.hidden_size


def _block_flop(num_tokens: int, width: int, mlp_dim: int) -> float:
    """A transformer block of CLIP."""
    return 2 * num_tokens * (4 * width**2 + 2 * width * mlp_dim) + 4 * num_tokens**2 * width


def _sam_attention_flop(side: int, num_windows: int, width: int) -> float:
    """Attention within windows of side x side patches, with decomposed relative positions."""
    num_tokens = num_windows * side**2
    return 2 * num_tokens * 4 * width**2 + 4 * num_tokens * side**2 * width + 4 * num_tokens * side * width


def _attend_flop(num_queries: int, num_keys: int, width: int, inner: int) -> float:
    """Attention of the mask decoder: projections to `inner` and back, and the products."""
    return 4 * width * inner * (num_queries + num_keys) + 4 * num_queries * num_keys * inner
