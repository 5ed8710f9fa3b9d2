"""LISA (CVPR 2024, arXiv 2308.00692; JIA-Lab-research/LISA): `xinlai/LISA-7B-v1`, `-explanatory` and the 13B models.

The template is that of its evaluation on RefCOCO (`ValDataset`, utils/dataset.py). Sentences (ReasonSeg) are asked with
`PromptTemplate(question=" {phrase} Please output segmentation mask.", answer="[SEG].", lower_case=False)` there.
"""

from __future__ import annotations

from litelvlm.models.description import ModelDescription
from litelvlm.models.registry import register

LISA = register(
    ModelDescription(
        name="lisa",
        title="LISA",
        architectures=("LISAForCausalLM",),
        model_types=("lisa",),
        converted_format="litelvlm-lisa-1",
        sam_prefix="model.visual_model.",
        projector="linear",
        clip="openai/clip-vit-large-patch14",
        added_tokens=("[SEG]", "<im_start>", "<im_end>"),
        question=" What is {phrase} in this image? Please output segmentation mask.",
        answer="[SEG].",
    )
)
