"""GLaMM's grounding encoder: SAM's image encoder and mask decoder, prompted by the language model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPositionalEmbedding, SamVisionEncoder

from litelvlm.config import SamSizes

TORCH_LAYER_NORM_EPS = 1e-5  # SAM's decoder leaves PyTorch's default; transformers' configuration says 1e-6


@contextlib.contextmanager
def float32_products(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Whether products and convolutions of float32 on a GPU may round their inputs to TF32, while this lasts."""
    if device.type != "cuda":
        yield
        return
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with cudnn.flags(
            enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=tf32
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


class GroundingEncoder(nn.Module):
    """SAM with one sparse prompt embedding per phrase.

    Shapes: B images, P phrases, C output channels, G patches along a side of the square input.

    Attributes:
        tf32: whether the mask decoder's float32 products may be rounded to TF32 on a GPU; None is where the image
            encoder is not float32 itself.
    """

    tf32: bool | None = None

    def __init__(self, sizes: SamSizes) -> None:
        super().__init__()
        self.sizes = sizes
        vision = SamVisionConfig(
            hidden_size=sizes.hidden_size,
            output_channels=sizes.output_channels,
            num_hidden_layers=sizes.num_hidden_layers,
            num_attention_heads=sizes.num_attention_heads,
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            window_size=sizes.window_size,
            global_attn_indexes=list(sizes.global_attn_indexes),
            num_pos_feats=sizes.output_channels // 2,
        )
        decoder = SamMaskDecoderConfig(
            hidden_size=sizes.mask_decoder_hidden_size,
            mlp_dim=sizes.mask_decoder_mlp_dim,
            num_attention_heads=sizes.mask_decoder_num_attention_heads,
            iou_head_hidden_dim=sizes.iou_head_hidden_dim,
            layer_norm_eps=TORCH_LAYER_NORM_EPS,
        )
        decoder._attn_implementation = "sdpa"
        self.image_encoder = SamVisionEncoder(vision)
        self.positional_embedding = SamPositionalEmbedding(vision)
        self.no_mask_embed = nn.Embedding(1, sizes.output_channels)
        self.mask_decoder = SamMaskDecoder(decoder)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Image embeddings BxCxGxG of normalised, padded pixels Bx3xSxS."""
        return self.image_encoder(pixels).last_hidden_state

    def decode_masks(self, image_embeddings: Tensor, mask_prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Low-resolution mask logits Px4Gx4G and predicted IoU P, both float32.

        Args:
            image_embeddings: PxCxGxG, the embedding of each phrase's image.
            mask_prompts: PxC, one prompt embedding per phrase.
        """
        grid = self.sizes.grid_size
        dtype = self.no_mask_embed.weight.dtype
        dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(len(mask_prompts), -1, grid, grid)
        with self.products_in(image_embeddings.dtype):
            logits, iou = self.mask_decoder(
                image_embeddings=image_embeddings.to(dtype),
                image_positional_embeddings=self.image_positions().expand(len(mask_prompts), -1, -1, -1),
                sparse_prompt_embeddings=mask_prompts.to(dtype)[:, None, None],
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
        return logits[:, 0, 0].float(), iou[:, 0, 0].float()

    def products_in(self, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
        """Whether the mask decoder rounds its products to TF32, with image embeddings of this dtype."""
        tf32 = dtype != torch.float32 if self.tf32 is None else self.tf32
        return float32_products(self.no_mask_embed.weight.device, tf32=tf32)

    def image_positions(self) -> Tensor:
        """1xCxGxG positional encoding of the patch centres."""
        grid = self.sizes.grid_size
        weight = self.positional_embedding.positional_embedding
        centres = (torch.arange(grid, device=weight.device, dtype=weight.dtype) + 0.5) / grid
        coordinates = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
        return self.positional_embedding(coordinates).permute(2, 0, 1)[None]
