"""GLaMM (CVPR 2024, arXiv 2311.03356; mbzuai-oryx/groundingLMM): `MBZUAI/GLaMM-RefSeg` and its siblings."""

from __future__ import annotations

from litelvlm.models.description import ModelDescription
from litelvlm.models.registry import register

GLAMM = register(
    ModelDescription(
        name="glamm",
        title="GLaMM",
        architectures=("GLaMMForCausalLM",),
        model_types=("glamm",),
        converted_format="litelvlm-glamm-1",
        sam_prefix="model.grounding_encoder.",
        unused_weights=("region_encoder.", "model.region_encoder."),  # its box input
        projector="mlp2x_gelu",
        clip="openai/clip-vit-large-patch14-336",
        added_tokens=("<im_start>", "<im_end>", "<bbox>", "<point>", "[SEG]", "<p>", "</p>"),
        before_image="The ",
        after_image=" provides an overview of the picture.\n",
        question="Can you segment the {phrase} in this image?",
        answer="It is [SEG].",
    )
)
