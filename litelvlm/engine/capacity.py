"""How large each stage's first micro-batch is: what fits into the device's free memory, and what fills the device.

Estimates of a stage's activations at its widest layer; a stage that needs more than estimated halves its micro-batch
(`litelvlm.engine.memory`). No tensors.
"""

from __future__ import annotations

from litelvlm.config import GlammConfig

# What one micro-batch needs to keep a large GPU busy; more only takes memory. Images, tokens and phrases.
_GPU_BATCH = {"clip": 32, "llm": 16384, "sam": 8, "decode_masks": 64, "masks": 64}
# On a CPU: few items of a large model; of a small one so many that calls and threads do not cost more than the work.
_CPU_LEAST = {"clip": 4, "llm": 2048, "sam": 4, "decode_masks": 8, "masks": 64}
_CPU_MOST = {"clip": 16, "llm": 4096, "sam": 16, "decode_masks": 48, "masks": 64}
_CPU_BYTES = 64 * 2**20  # of activations, between these two
LEAST_TOKENS = 8192  # of a batch on a GPU: with fewer, products leave much of their last tiles empty
_TEXT_TOKENS = 34  # of a phrase and what it is asked with, behind the image
_SHARE = 0.5  # of free memory for the largest stage: the last batch's results and the allocator's gaps take the rest
_WIDTHS = 8  # tensors of a layer's width alive at once: residual, normed, attended, and copies in their making


def micro_batches(config: GlammConfig, *, free_bytes: int | None, element_bytes: int) -> dict[str, int]:
    """The largest micro-batch of each stage: images of `clip` and `sam`, padded tokens of `llm`, phrases of
    `decode_masks` and `masks`.

    Args:
        config: the model's sizes.
        free_bytes: free memory of the device with the model loaded; None on a CPU.
        element_bytes: of the encoders' and the language model's dtype.
    """
    room = _CPU_BYTES if free_bytes is None else int(_SHARE * free_bytes)
    most, least = (_GPU_BATCH, dict.fromkeys(_GPU_BATCH, 1)) if free_bytes is not None else (_CPU_MOST, _CPU_LEAST)
    fits = {stage: room // size for stage, size in item_bytes(config, element_bytes).items()}
    return {stage: max(least[stage], min(most[stage], fits[stage])) for stage in most}


def images_at_once(limits: dict[str, int], *, on_gpu: bool) -> int:
    """Images of a batch: enough for packed prompts of thousands of tokens, in whole micro-batches of SAM."""
    return 2 * limits["sam"] if on_gpu else limits["sam"]


def tokens_read(num_phrases: int, retained: int, layout: str) -> int:
    """About how many tokens the language model reads of an image, which says how many images make a batch."""
    prompts = num_phrases if layout == "separate" else min(num_phrases, 1)
    return prompts * retained + num_phrases * _TEXT_TOKENS


def item_bytes(config: GlammConfig, element_bytes: int) -> dict[str, int]:
    """Estimated bytes of activations that one item of each stage needs at most: an image, a token or a phrase."""
    sam, clip, llm = config.sam, config.clip, config.llm
    sam_values = sam.grid_size**2 * ((_WIDTHS + 4) * sam.hidden_size + 6 * sam.num_attention_heads * sam.grid_size)
    clip_values = (clip.num_patches + 1) * (_WIDTHS * clip.vision_width + clip.vision_mlp_dim)
    llm_values = (_WIDTHS + 4) * llm.hidden_size + 3 * llm.intermediate_size
    upscaled = sam.low_res_size**2 * sam.output_channels // 8  # the mask decoder's last feature map, in float32
    embedding = sam.grid_size**2 * sam.output_channels
    return {
        "sam": element_bytes * sam_values,
        "clip": element_bytes * clip_values,
        "llm": element_bytes * llm_values,
        "decode_masks": 4 * (4 * upscaled + _WIDTHS * embedding),
        "masks": 4 * 16 * sam.low_res_size**2,
    }
