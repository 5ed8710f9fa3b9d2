"""GSVA (CVPR 2024, arXiv 2312.10103; LeapLabTHU/GSVA): LISA that may reject a phrase with `[REJ]`.

Its evaluation (`ValDataset`, data/dataset.py) asks all expressions of an image at once, as a list; the missing space
before `in this image` is the release's.
"""

from __future__ import annotations

from litelvlm.models.description import ModelDescription
from litelvlm.models.registry import register

GSVA = register(
    ModelDescription(
        name="gsva",
        title="GSVA",
        architectures=("LisaGSVAForCausalLM",),
        model_types=("gsva",),
        converted_format="litelvlm-gsva-1",
        sam_prefix="model.visual_model.",
        projector="linear",
        clip="openai/clip-vit-large-patch14",
        added_tokens=("[SEG]", "[REJ]", "<im_start>", "<im_end>"),
        question=" What are {phrase}in this image? Please output segmentation masks.",
        answer="Sure,{phrase}:[SEG].",
        reject_token="[REJ]",
        lists_phrases=True,
        stripped=".",
    )
)
