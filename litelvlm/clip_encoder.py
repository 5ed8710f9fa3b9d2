"""Both CLIP towers (open_clip), read where GLaMM and the pruning rules need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.config import ClipSizes
from litelvlm.pixels import embed_patches
from litelvlm.rules.evidence import cls_attention, context_scores

RunBlock = Callable[[Any, Tensor], Tensor]

_SLOPE = 1.702  # of OpenAI's approximation of GELU


class ClipFeatures(NamedTuple):
    """What the vision tower hands on, for B images, V patches, width D and embedding width E.

    Attributes:
        patches: BxVxD, hidden state of layer -2 (the input of the last block), patch tokens only.
        embedded: BxVxE float32, `visual_projection(post_layernorm(patches))`, not normalised.
        context: BxV float32, the context scores.
        last_input: Bx(1+V)xD, what the last block reads, `[CLS]` first.
        previous_input: Bx(1+V)xD, what the block before it reads.

    Some rules want more than scores: `attention_cues` and `last_cues` compute it from the inputs, when it is asked for.
    """

    patches: Tensor
    embedded: Tensor
    context: Tensor
    last_input: Tensor | None = None
    previous_input: Tensor | None = None


def run_block(block: Any, hidden: Tensor) -> Tensor:
    """A block's output BxTxD, without a mask: its queries, keys and values in one product, fused attention."""
    attention = block.attn
    qkv = F.linear(block.ln_1(hidden), attention.in_proj_weight, attention.in_proj_bias)
    queries, keys, values = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(-2)
    hidden = block.ls_1(attention.out_proj(attended)).add_(hidden)
    return block.ls_2(_mlp(block.mlp, block.ln_2(hidden))).add_(hidden)


def _mlp(mlp: Any, hidden: Tensor) -> Tensor:
    """A block's MLP. OpenAI's activation is `x sigmoid(a x) = silu(a x) / a`, whose factors go into the products."""
    if not isinstance(mlp.gelu, QuickGELU):
        return mlp(hidden)
    first, second = mlp.c_fc, mlp.c_proj
    inner = torch.addmm(_SLOPE * first.bias, hidden.flatten(0, -2), first.weight.T, alpha=_SLOPE)
    found = torch.addmm(second.bias, F.silu(inner, inplace=True), second.weight.T, alpha=1 / _SLOPE)
    return found.unflatten(0, hidden.shape[:-1])


def _embedded(visual: Any, pixels: Tensor) -> Tensor:
    """Bx(1+V)xD that the first block reads, of pixels Bx3xSxS."""
    embedded = embed_patches(visual.conv1, pixels).flatten(1, 2)
    cls = visual.class_embedding.to(embedded.dtype).expand(len(embedded), 1, -1)
    hidden = torch.cat([cls, embedded], dim=1).add_(visual.positional_embedding)
    return visual.ln_pre(hidden)


class ClipEncoder(nn.Module):
    """The CLIP towers of a GLaMM checkpoint; open_clip's modules and parameter names stand under `clip`."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.clip = CLIP(
            embed_dim=sizes.embed_dim,
            vision_cfg=CLIPVisionCfg(
                layers=sizes.vision_layers,
                width=sizes.vision_width,
                head_width=sizes.vision_width // sizes.vision_heads,
                mlp_ratio=sizes.vision_mlp_dim / sizes.vision_width,
                patch_size=sizes.patch_size,
                image_size=sizes.image_size,
            ),
            text_cfg=CLIPTextCfg(
                context_length=sizes.context_length,
                vocab_size=sizes.vocab_size,
                width=sizes.text_width,
                heads=sizes.text_heads,
                layers=sizes.text_layers,
                mlp_ratio=sizes.text_mlp_dim / sizes.text_width,
            ),
            quick_gelu=sizes.quick_gelu,
        )

    def restore_buffers(self, device: torch.device) -> None:
        """Rebuilds what a checkpoint does not hold, after the module was built without memory."""
        length = self.sizes.context_length
        mask = torch.full((length, length), float("-inf"), device=device).triu_(1)
        self.clip.register_buffer("attn_mask", mask, persistent=False)

    def encode_images(self, pixels: Tensor, run: RunBlock = run_block) -> ClipFeatures:
        """Runs all blocks but the last, of which only the `[CLS]` query and the patches' keys and values are computed.

        Args:
            pixels: Bx3xSxS, normalised.
            run: `run_block`, or the same compiled.
        """
        visual = self.clip.visual
        previous = _embedded(visual, pixels)
        for block in visual.transformer.resblocks[:-2]:
            previous = run(block, previous)
        hidden = run(visual.transformer.resblocks[-2], previous)
        patches = hidden[:, 1:]
        embedded = (visual.ln_post(patches) @ visual.proj).float()
        return ClipFeatures(patches, embedded, self._context(hidden), hidden, previous)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Projected `[CLS]` embeddings of B images, not normalised; BxE float32. The whole tower runs.

        Args:
            pixels: Bx3xSxS, normalised.
        """
        return self.clip.encode_image(pixels).float()

    def attention_cues(self, previous_input: Tensor) -> tuple[Tensor, Tensor]:
        """`Evidence.attention` and `Evidence.keys`: of the layer whose output the features are."""
        query, key = self._query_and_keys(self.clip.visual.transformer.resblocks[-2], previous_input)
        heads = self.sizes.vision_heads
        return cls_attention(query, key, heads), key[:, 1:].unflatten(-1, (heads, -1)).float().mean(2)

    def last_cues(self, last_input: Tensor) -> tuple[Tensor, Tensor]:
        """`Evidence.last_attention` and `Evidence.last_keys`: of the last layer, over its full width."""
        query, key = self._query_and_keys(self.clip.visual.transformer.resblocks[-1], last_input)
        return cls_attention(query, key, 1), key[:, 1:].float()

    def _query_and_keys(self, block: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The `[CLS]` query BxD, and the keys of `[CLS]` and the patches, Bx(1+V)xD."""
        normed = block.ln_1(hidden)
        weight_q, weight_k, _ = block.attn.in_proj_weight.chunk(3)
        bias_q, bias_k, _ = block.attn.in_proj_bias.chunk(3)
        return F.linear(normed[:, 0], weight_q, bias_q), F.linear(normed, weight_k, bias_k)

    def _context(self, hidden: Tensor) -> Tensor:
        block = self.clip.visual.transformer.resblocks[-1]
        normed = block.ln_1(hidden)
        weight_q, weight_k, weight_v = block.attn.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = block.attn.in_proj_bias.chunk(3)
        query = F.linear(normed[:, 0], weight_q, bias_q)
        key = F.linear(normed[:, 1:], weight_k, bias_k)
        value = F.linear(normed[:, 1:], weight_v, bias_v)
        return context_scores(query, key, value)

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """Projected `[EOS]` embeddings of N texts, not normalised; NxE float32.

        A token sees none behind it, so texts may be cut to the longest of them (`cut_texts`).

        Args:
            tokens: NxC int64 of CLIP's own tokeniser, C at most the context length.
        """
        clip, length = self.clip, tokens.shape[1]
        positions = clip.positional_embedding[:length]
        mask = clip.attn_mask[:length, :length].to(positions.dtype)
        hidden = clip.transformer(clip.token_embedding(tokens) + positions, attn_mask=mask)
        last = torch.arange(len(tokens), device=tokens.device), tokens.argmax(-1)  # `[EOS]` is the highest number
        return (clip.ln_final(hidden[last]) @ clip.text_projection).float()
