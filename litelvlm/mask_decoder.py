"""SAM's mask decoder for one prompt embedding a phrase: the same function, with less work on the image's tokens.

Few tokens attend to many and many to few: a phrase has six, an image thousands. So projections of the image's tokens
are folded into those of the phrase's. With `q` and `k` projected tokens of a phrase, `x` a token of the image with its
position, and W, b an attention's projections of a head:

* from phrase to image: `q·(x Wk + bk) = x·(Wk q) + const`, where the softmax over `x` drops the constant, and
  `sum p (x Wv + bv) = (sum p x) Wv + bv`, as the shares `p` add up to 1;
* from image to phrase: `(x Wq + bq)·k = x·(Wq k) + bq·k`, and the output's projection is applied to the values.

Of four masks one is decoded, of the last attention only the two tokens that are read are queries. Transposed
convolutions of side 2 and stride 2 are products, so that channels stay last throughout. The weights are those of
transformers' `SamMaskDecoder`.

Shapes: B images, P phrases, C channels, Q tokens of a phrase, H heads of size D, G patches along a side, T = G*G.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamAttention, SamTwoWayAttentionBlock

from litelvlm.folded_sam import normed
from litelvlm.grounding_encoder import GroundingEncoder
from litelvlm.transfer import on_device

_gelu = torch.ops.aten.gelu_  # in place
_READ = 2  # tokens whose last state is read: the one that tells the IoU, and the first mask's


class PhraseMaskDecoder:
    """Runs the mask decoder of a grounding encoder.

    Args:
        grounding: its weights; they may be moved or replaced until the first call.
    """

    def __init__(self, grounding: GroundingEncoder) -> None:
        self._grounding, self._decoder = grounding, grounding.mask_decoder

    @functools.cached_property
    def _positions(self) -> Tensor:
        """TxC."""
        return self._grounding.image_positions().flatten(2)[0].T.contiguous()

    def __call__(self, image_embeddings: Tensor, image_index: Sequence[int], prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Low-resolution mask logits Px4Gx4G and predicted IoU P, both float32.

        Args:
            image_embeddings: BxCxGxG.
            image_index: P, which of them each phrase asks about.
            prompts: PxC, one prompt embedding per phrase.
        """
        index = on_device(image_index, image_embeddings.device)
        with self._grounding.products_in(image_embeddings.dtype):
            return self._decode(image_embeddings, index, prompts)

    def _decode(self, image_embeddings: Tensor, index: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        decoder, positions = self._decoder, self._positions
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        points = torch.cat([own.expand(len(prompts), -1, -1), prompts.to(own.dtype)[:, None]], dim=1)
        images = image_embeddings.flatten(2).transpose(1, 2).to(own.dtype) + self._grounding.no_mask_embed.weight
        tokens, pixels = points, images[index]
        for layer in cast(list[SamTwoWayAttentionBlock], decoder.transformer.layers):
            tokens, pixels = _two_way(layer, tokens, points, pixels, positions)
        transformer = decoder.transformer
        read = tokens[:, :_READ]
        looked = _look(transformer.final_attn_token_to_image, read + points[:, :_READ], pixels, pixels + positions)
        read = normed(transformer.layer_norm_final_attn, read + looked)
        logits = self._masks(pixels, decoder.output_hypernetworks_mlps[0](read[:, 1]))
        iou: Tensor = decoder.iou_prediction_head(read[:, 0])[:, 0]
        return logits.float(), iou.float()

    def _masks(self, pixels: Tensor, weights: Tensor) -> Tensor:
        """Px4Gx4G logits of PxTxC: upscaled twice, and of the channels the sum that `weights`, PxC/8, make."""
        decoder, grid = self._decoder, self._grounding.sizes.grid_size
        found = _gelu(normed(decoder.upscale_layer_norm, _upscaled(decoder.upscale_conv1, pixels)))
        found = _gelu(_upscaled(decoder.upscale_conv2, found))
        logits = found.flatten(1, 3) @ weights[..., None]
        fine = logits.reshape(len(pixels), grid, grid, 2, 2, 2, 2)
        return fine.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(pixels), 4 * grid, 4 * grid)


def _two_way(
    layer: SamTwoWayAttentionBlock, tokens: Tensor, points: Tensor, pixels: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """A layer's tokens PxQxC and pixels PxTxC."""
    own = layer.self_attn
    if layer.skip_first_layer_pe:
        tokens = _attend(own, tokens, tokens)
    else:
        tokens = tokens + _attend(own, tokens + points, tokens)
    tokens = normed(layer.layer_norm1, tokens)
    placed = pixels + positions
    tokens = normed(layer.layer_norm2, tokens + _look(layer.cross_attn_token_to_image, tokens + points, pixels, placed))
    tokens = normed(layer.layer_norm3, tokens + layer.mlp(tokens))
    pixels = _told(layer.cross_attn_image_to_token, placed, tokens + points, tokens, pixels)
    return tokens, normed(layer.layer_norm4, pixels)


def _attend(attention: SamAttention, placed: Tensor, values: Tensor) -> Tensor:
    """PxQxC: attention among a phrase's tokens, with their positions and without."""
    projections = (attention.q_proj(placed), attention.k_proj(placed), attention.v_proj(values))
    queries, keys, values = (_heads(attention, one).transpose(1, 2) for one in projections)
    attended = F.scaled_dot_product_attention(queries, keys, values, scale=attention.scaling)
    return _linear(attention.out_proj, attended.transpose(1, 2).flatten(-2))


def _look(attention: SamAttention, tokens: Tensor, pixels: Tensor, placed: Tensor) -> Tensor:
    """PxQxC: a phrase's tokens attend to the image's, PxTxC without their positions and with."""
    queries = _heads(attention, attention.q_proj(tokens)) * attention.scaling
    folded = torch.einsum("pqhd,hdc->pqhc", queries, _by_head(attention, attention.k_proj.weight))
    shares = (folded.flatten(1, 2) @ placed.transpose(1, 2)).softmax(-1)
    seen = (shares @ pixels).unflatten(1, folded.shape[1:3])
    values = torch.einsum("pqhc,hdc->pqhd", seen, _by_head(attention, attention.v_proj.weight)).flatten(-2)
    return _linear(attention.out_proj, values + attention.v_proj.bias)


def _told(attention: SamAttention, placed: Tensor, keys: Tensor, values: Tensor, pixels: Tensor) -> Tensor:
    """PxTxC, pixels and what they attend to of a phrase's tokens, PxQxC with their positions and without."""
    projected = _heads(attention, attention.k_proj(keys)) * attention.scaling
    folded = torch.einsum("pqhd,hdc->pqhc", projected, _by_head(attention, attention.q_proj.weight))
    constant = (projected * attention.q_proj.bias.unflatten(0, (attention.num_attention_heads, -1))).sum(-1)
    logits = torch.baddbmm(constant.flatten(1)[..., None], folded.flatten(1, 2), placed.transpose(1, 2))
    shares = logits.unflatten(1, constant.shape[1:]).softmax(1).flatten(1, 2)  # over the tokens of each head
    told = _heads(attention, attention.v_proj(values))
    output = attention.out_proj.weight.unflatten(1, (attention.num_attention_heads, -1))
    told = torch.einsum("pqhd,chd->pqhc", told, output) + attention.out_proj.bias / attention.num_attention_heads
    return torch.baddbmm(pixels, shares.transpose(1, 2), told.flatten(1, 2))


def _heads(attention: SamAttention, projected: Tensor) -> Tensor:
    return projected.unflatten(-1, (attention.num_attention_heads, -1))


def _by_head(attention: SamAttention, weight: Tensor) -> Tensor:
    """HxDxC of the weight of a projection to all heads."""
    return weight.unflatten(0, (attention.num_attention_heads, -1))


def _upscaled(convolution: torch.nn.ConvTranspose2d, pixels: Tensor) -> Tensor:
    """...x4xE of ...xC: the four places that each becomes, row by row."""
    weight, bias = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2), convolution.bias
    assert bias is not None
    return F.linear(pixels, weight, bias.repeat(4)).unflatten(-1, (4, -1))


def _linear(layer: torch.nn.Linear, inputs: Tensor) -> Tensor:
    return F.linear(inputs, layer.weight, layer.bias)
