"""From a pruning rule to the visual tokens that each prompt gets: the rule's evidence gathered, its selection laid out.

Shapes: B images, N prompts, V visual tokens of an image, R of them kept, D the width of CLIP's vision tower, W the
language model's, Q the most questions of a prompt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.config import PruningConfig
from litelvlm.glamm import GlammModel
from litelvlm.prompts import Prompt
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence, similarity_scores
from litelvlm.rules.registry import RULE_BOOK
from litelvlm.rules.selection import order_tokens
from litelvlm.transfer import on_device

EmbedQuestions = Callable[[Sequence[str]], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class ImagePrompt:
    """A prompt with the image it is about.

    Attributes:
        image_index: the image within its batch.
        prompt: the tokenised conversation.
        questions: the texts that its visual tokens are chosen for: its rounds' questions, or in the layout `shared`
            those of all the image's phrases.
    """

    image_index: int
    prompt: Prompt
    questions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Retained:
    """The visual tokens of N prompts.

    Attributes:
        indices: NxR int64, the patch at whose place each token stands, in the order given to the language model.
        sources: NxR int64, where each stands among all visual tokens of the batch.
        merged: features that tokens were made of where the rule merges, rowsxRxD before the projector; None where the
            batch's visual tokens are the images' patches, BxV.
        projected: BxVxW, the images' patches after the projector, where the rule looked at them.
    """

    indices: Tensor
    sources: Tensor
    merged: Tensor | None = None
    projected: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        """R."""
        return self.indices.shape[1]

    def of(self, prompts: Sequence[int]) -> Retained:
        """Those of some of the prompts."""
        rows = on_device(prompts, self.indices.device)
        return dataclasses.replace(self, indices=self.indices[rows], sources=self.sources[rows])


def retain(
    model: GlammModel,
    features: ClipFeatures,
    prompts: Sequence[ImagePrompt],
    seeds: Sequence[int],
    pruning: PruningConfig,
    embed_questions: EmbedQuestions,
) -> Retained:
    """The visual tokens that each prompt keeps before the language model.

    Args:
        model: whose parts compute evidence.
        features: of the batch's images.
        prompts: all prompts about these images.
        seeds: each image's content seed.
        pruning: the rule.
        embed_questions: CLIP text embeddings by question.
    """
    device = features.context.device
    num_tokens = features.context.shape[-1]
    images = on_device([item.image_index for item in prompts], device)
    if pruning.is_unpruned(num_tokens) or pruning.inside_llm:
        indices = torch.arange(num_tokens, device=device).expand(len(prompts), -1)
        return Retained(indices=indices, sources=images[:, None] * num_tokens + indices)
    rule = RULE_BOOK[pruning.rule]
    rows = images if rule.per_prompt else torch.arange(len(features.context), device=device)
    evidence = Evidence(
        context=features.context[rows],
        seed=pruning.seed,
        **_cues(model, features, set(rule.needs), rows if rule.per_prompt else None),
        **(_text_cues(features, prompts, embed_questions) if rule.per_prompt else {"seeds": seeds}),
    )
    selection = select(evidence, pruning)
    indices = order_tokens(
        selection, evidence.context, release_order=pruning.uses_release_order, own_order=pruning.uses_own_order
    )
    row_of_prompt = torch.arange(len(prompts), device=device) if rule.per_prompt else images
    if selection.merge is None:
        sources, merged = images[:, None] * num_tokens + indices[row_of_prompt], None
    else:
        weights = selection.merge.gather(1, indices[..., None].expand(-1, -1, num_tokens))
        merged = (weights @ features.patches[rows].float()).to(features.patches.dtype)
        slots = torch.arange(indices.shape[1], device=device)
        sources = row_of_prompt[:, None] * len(slots) + slots
    return Retained(indices=indices[row_of_prompt], sources=sources, merged=merged, projected=evidence.projected)


def _cues(model: GlammModel, features: ClipFeatures, needs: set[str], rows: Tensor | None) -> dict[str, Any]:
    """What the rule needs to know of the images, a row each or as `rows` says."""
    found: dict[str, Tensor] = {}
    if needs & {"attention", "keys"}:
        assert features.previous_input is not None, "these features are not the engine's"
        found["attention"], found["keys"] = model.clip.attention_cues(features.previous_input)
    if needs & {"last_attention", "last_keys"}:
        assert features.last_input is not None, "these features are not the engine's"
        found["last_attention"], found["last_keys"] = model.clip.last_cues(features.last_input)
    if "patches" in needs:
        found["patches"] = features.patches.float()
    if "projected" in needs:
        found["projected"] = model.projector(features.patches).float()
    return found if rows is None else {name: value[rows] for name, value in found.items()}


def _text_cues(
    features: ClipFeatures, prompts: Sequence[ImagePrompt], embed_questions: EmbedQuestions
) -> dict[str, Tensor]:
    """NxQxV similarity to the prompts' questions, and which of them are real, NxQ."""
    embeddings = embed_questions([question for item in prompts for question in item.questions])
    device = features.embedded.device
    counts = np.array([len(item.questions) for item in prompts])
    numbers = {question: number for number, question in enumerate(embeddings)}
    asked = np.zeros((len(prompts), int(counts.max())), dtype=np.int64)  # of a prompt with fewer, any question
    for row, item in enumerate(prompts):
        asked[row, : len(item.questions)] = [numbers[question] for question in item.questions]
    texts = torch.stack(list(embeddings.values()))[on_device(asked, device)]
    visual = features.embedded[on_device([item.image_index for item in prompts], device)]
    is_real = on_device(np.arange(asked.shape[1]) < counts[:, None], device)
    return {"similarity": similarity_scores(visual, texts), "phrase_mask": is_real}
