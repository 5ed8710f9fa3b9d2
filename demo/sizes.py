"""The demo models' sizes: every part of GLaMM or LISA, small enough to be trained on a CPU."""

from __future__ import annotations

from litelvlm.config import GlammConfig, LlmSizes, SamSizes, ScoreCalibration
from litelvlm.demo.rendering import SAM_SIZE
from litelvlm.demo.train_clip import SIZES as CLIP_SIZES
from litelvlm.tokenizer import GlammTokenizer

SAM_SIZES = SamSizes(
    image_size=SAM_SIZE,
    patch_size=12,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    global_attn_indexes=(1, 3),
    window_size=8,
    output_channels=96,
    mask_decoder_hidden_size=96,
    mask_decoder_mlp_dim=192,
    mask_decoder_num_attention_heads=4,
    iou_head_hidden_dim=96,
)


def demo_config(tokenizer: GlammTokenizer, calibration: ScoreCalibration | None = None) -> GlammConfig:
    """144 visual tokens, six LLaMA layers of width 160, 64x64 low-resolution masks."""
    llm = LlmSizes(
        vocab_size=tokenizer.vocab_size,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=6,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
    )
    calibration = calibration or ScoreCalibration()
    return GlammConfig(
        description=tokenizer.description, llm=llm, sam=SAM_SIZES, clip=CLIP_SIZES, calibration=calibration
    )
