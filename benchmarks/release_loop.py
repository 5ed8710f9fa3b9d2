"""The release's way of working, as the yardstick: one image at a time, every stage whole, nothing remembered.

The same weights and the same arithmetic as the engine, in the release's order of operations: each record
goes through all of CLIP, all of the language model (every layer at every position, the prompt's tail included, though
without `lm_head`, whose weights are not loaded) and all of SAM, is upsampled to the original size and encoded by
pycocotools.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional as F

from litelvlm import Annotator, PromptTemplate, PruningConfig
from litelvlm.clip_encoder import ClipFeatures
from litelvlm.pixels import normalize_clip, normalize_sam
from litelvlm.preprocess import PreparedImage
from litelvlm.prompts import build_prompts
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence, similarity_scores
from litelvlm.rules.selection import order_tokens


class ReleaseLoop:
    """Annotates an image at a time with an annotator's weights.

    Args:
        annotator: whose model and tokenisers are used; none of its engine is.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._model, self._preprocessor = annotator.model, annotator.preprocessor
        self._clip_tokenizer = annotator.clip_tokenizer
        self._template = PromptTemplate()

    @torch.inference_mode()
    def annotate(self, image: PreparedImage, phrases: list[str], pruning: PruningConfig) -> list[dict[str, Any]]:
        """COCO run lengths of all phrases, asked as rounds of one conversation.

        Args:
            image: resized for both encoders.
            phrases: of this image.
            pruning: the rule and the budget.
        """
        model, device = self._model, self._model.device
        features = self._clip(normalize_clip([image.clip_pixels], device, model.dtype))
        tokenizer = self._preprocessor.tokenizer
        (prompt,) = build_prompts(phrases, self._template, tokenizer, layout="rounds", max_text_tokens=3000)
        retained = self._retained(features, phrases, pruning)
        visual = model.projector(features.patches)[0, retained]
        ids, at = torch.tensor(prompt.input_ids, device=device), prompt.image_index
        before, after = model.llm.embed_tokens(ids[:at]), model.llm.embed_tokens(ids[at + 1 :])
        hidden = model.llm(inputs_embeds=torch.cat([before, visual, after])[None], use_cache=False).last_hidden_state[0]
        reads = [index - 2 + len(retained) for index in prompt.seg_indices]
        mask_prompts = model.mask_prompts(hidden[reads])
        size = model.config.sam.image_size
        pixels = normalize_sam([image.sam_pixels], size, device, model.dtype)
        embedding = model.grounding_encoder.image_encoder(pixels).last_hidden_state
        found = []
        for row in range(len(phrases)):
            logits, _ = model.grounding_encoder.decode_masks(embedding, mask_prompts[row : row + 1])
            whole = upsample_logits(
                logits, input_size_hw=image.sam_pixels.shape[:2], size_hw=image.original_size_hw, target=size
            )
            mask = (whole[0] > 0).cpu().numpy().astype(np.uint8)
            found.append(coco_mask.encode(np.asfortranarray(mask)))
        return found

    def _clip(self, pixels: torch.Tensor) -> ClipFeatures:
        """All blocks of the vision tower, the last one included; the features are those of the one before."""
        encoder = self._model.clip
        visual = encoder.clip.visual
        hidden = visual._embeds(pixels)
        for block in visual.transformer.resblocks[:-1]:
            hidden = block(hidden)
        visual.transformer.resblocks[-1](hidden)
        patches = hidden[:, 1:]
        return ClipFeatures(patches, (visual.ln_post(patches) @ visual.proj).float(), encoder._context(hidden))

    def _retained(self, features: ClipFeatures, phrases: list[str], pruning: PruningConfig) -> torch.Tensor:
        num_tokens = features.patches.shape[1]
        if pruning.is_unpruned(num_tokens):
            return torch.arange(num_tokens, device=features.patches.device)
        questions = [self._template.ask(phrase) for phrase in phrases]
        texts = torch.cat(
            [
                self._model.clip.encode_texts(self._clip_tokenizer([question]).to(features.patches.device))
                for question in questions
            ]
        )
        similarity = similarity_scores(features.embedded, texts[None])
        evidence = Evidence(
            context=features.context,
            similarity=similarity,
            phrase_mask=torch.ones(similarity.shape[:2], dtype=torch.bool, device=similarity.device),
            seeds=[0],
            seed=pruning.seed,
        )
        return order_tokens(select(evidence, pruning), features.context, release_order=pruning.uses_release_order)[0]


def upsample_logits(
    low_res: Tensor, *, input_size_hw: tuple[int, int], size_hw: tuple[int, int], target: int
) -> Tensor:
    """Mask logits at the original size: upsample to the encoder's input, crop the padding, resize (SAM's order).

    Args:
        low_res: PxLxL float32.
        input_size_hw: height and width of the resized, not yet padded image.
        size_hw: the original height and width.
        target: side of the encoder's square input.

    Returns:
        PxHxW float32; the mask is where it is above 0.
    """
    logits = F.interpolate(low_res[:, None], (target, target), mode="bilinear", align_corners=False)
    logits = logits[..., : input_size_hw[0], : input_size_hw[1]]
    return F.interpolate(logits, size_hw, mode="bilinear", align_corners=False)[:, 0]
