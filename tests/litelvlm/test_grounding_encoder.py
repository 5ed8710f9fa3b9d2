"""The grounding encoder against transformers' own SAM, prompted in its own way."""

from __future__ import annotations

import contextlib

import pytest
import torch
from transformers import SamConfig, SamModel

from litelvlm import Annotator
from litelvlm.config import SamSizes
from litelvlm.grounding_encoder import GroundingEncoder, float32_products

SIZES = SamSizes(
    image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, global_attn_indexes=(1,),
    window_size=3, output_channels=32, mask_decoder_hidden_size=32, mask_decoder_mlp_dim=24,
    mask_decoder_num_attention_heads=4, iou_head_hidden_dim=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> GroundingEncoder:
    torch.manual_seed(0)
    return GroundingEncoder(SIZES).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sam(encoder: GroundingEncoder) -> SamModel:
    """transformers' whole model with the same weights."""
    config = SamConfig(
        vision_config=encoder.image_encoder.config,
        prompt_encoder_config={"hidden_size": 32, "image_size": 32, "patch_size": 8},
        mask_decoder_config=encoder.mask_decoder.config,
    )
    config.mask_decoder_config.layer_norm_eps = 1e-5  # torch's default, which SAM's decoder leaves as it is
    model = SamModel(config).eval()
    model.vision_encoder.load_state_dict(encoder.image_encoder.state_dict())
    model.mask_decoder.load_state_dict(encoder.mask_decoder.state_dict())
    model.shared_image_embedding.load_state_dict(encoder.positional_embedding.state_dict())
    model.prompt_encoder.no_mask_embed.load_state_dict(encoder.no_mask_embed.state_dict())
    return model


def test_images_are_encoded_as_sam_does(encoder: GroundingEncoder, sam: SamModel) -> None:
    pixels = torch.randn(2, 3, 32, 32)
    found = encoder.encode_images(pixels)
    assert found.shape == (2, 32, 4, 4)
    torch.testing.assert_close(found, sam.get_image_embeddings(pixels))


@torch.inference_mode()
def test_a_prompt_is_decoded_as_sams_decoder_does(encoder: GroundingEncoder, sam: SamModel) -> None:
    images, prompts = torch.randn(3, 32, 4, 4), torch.randn(3, 32)
    logits, iou = encoder.decode_masks(images, prompts)
    assert (logits.shape, iou.shape) == ((3, 16, 16), (3,))
    positions = sam.get_image_wide_positional_embeddings()
    for row in range(3):
        expected, expected_iou = sam.mask_decoder(
            image_embeddings=images[row : row + 1],
            image_positional_embeddings=positions,
            sparse_prompt_embeddings=prompts[row][None, None, None],
            dense_prompt_embeddings=sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, 4, 4),
            multimask_output=False,
        )[:2]
        torch.testing.assert_close(logits[row], expected[0, 0, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou[row], expected_iou[0, 0, 0], rtol=1e-4, atol=1e-5)


def test_masks_are_float32_from_embeddings_of_half_the_precision(encoder: GroundingEncoder) -> None:
    logits, iou = encoder.decode_masks(torch.randn(1, 32, 4, 4, dtype=torch.bfloat16), torch.randn(1, 32))
    assert (logits.dtype, iou.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("tf32", [False, True])
def test_products_of_float32_are_as_asked_and_then_as_before(tf32: bool) -> None:
    """The settings are the process's, so they can be looked at without a GPU."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with float32_products(torch.device("cuda"), tf32=tf32):
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        assert torch.backends.cudnn.allow_tf32 == tf32
    with pytest.raises(RuntimeError), float32_products(torch.device("cuda"), tf32=tf32):
        raise RuntimeError
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    with float32_products(torch.device("cpu"), tf32=tf32):
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize(("dtype", "own", "expected"), [
    (torch.float32, None, False), (torch.bfloat16, None, True), (torch.bfloat16, False, False),
    (torch.float32, True, True),
])  # fmt: skip
@torch.inference_mode()
def test_float32_models_are_not_rounded_unless_asked(
    tiny_annotator: Annotator, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, own: bool | None, expected: bool
) -> None:
    asked: list[bool] = []

    def noted(device: torch.device, *, tf32: bool) -> contextlib.AbstractContextManager[None]:
        asked.append(tf32)
        return contextlib.nullcontext()

    encoder, sizes = tiny_annotator.model.grounding_encoder, tiny_annotator.config.sam
    monkeypatch.setattr("litelvlm.grounding_encoder.float32_products", noted)
    monkeypatch.setattr(encoder, "tf32", own, raising=False)
    embeddings = torch.randn(1, sizes.output_channels, sizes.grid_size, sizes.grid_size, dtype=dtype)
    encoder.decode_masks(embeddings, torch.randn(1, sizes.output_channels))
    assert asked == [expected]
