"""The runner: everything that touches tensors, in the order of the forward pass.

It never decides what runs together. Shapes: B images, N prompts, P phrases of all images together, V visual tokens,
R of them kept, S sequence length, W the language model's width, C the grounding encoder's channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.clip_tokenizer import SimpleTokenizer
from litelvlm.config import PruningConfig
from litelvlm.glamm import GlammModel
from litelvlm.pixels import normalize_clip, normalize_sam
from litelvlm.preprocess import PreparedImage
from litelvlm.prompts import Prompt
from litelvlm.pruning import order_tokens, select_tokens, similarity_scores

_TEXT_CACHE_SIZE = 20_000
_TEXT_BATCH = 32


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


class Runner:
    """Runs a model's stages.

    Args:
        model: on its device, in its dtype.
        clip_tokenizer: CLIP's own tokeniser.
    """

    def __init__(self, model: GlammModel, clip_tokenizer: SimpleTokenizer) -> None:
        self.model = model
        self._clip_tokenizer = clip_tokenizer
        self._text_embeddings: OrderedDict[str, Tensor] = OrderedDict()

    def encode_clip(self, images: Sequence[PreparedImage]) -> ClipFeatures:
        """CLIP features of B images."""
        pixels = normalize_clip([image.clip_pixels for image in images], self.model.device, self.model.dtype)
        return self.model.clip.encode_images(pixels)

    def embed_questions(self, questions: Sequence[str]) -> dict[str, Tensor]:
        """CLIP text embedding of each question, E float32; remembered across calls."""
        embeddings: dict[str, Tensor] = {}
        for question in dict.fromkeys(questions):
            if question in self._text_embeddings:
                self._text_embeddings.move_to_end(question)
                embeddings[question] = self._text_embeddings[question]
        new = [question for question in dict.fromkeys(questions) if question not in embeddings]
        for start in range(0, len(new), _TEXT_BATCH):
            texts = new[start : start + _TEXT_BATCH]
            tokens = self._clip_tokenizer(texts).to(self.model.device)
            embeddings.update(zip(texts, self.model.clip.encode_texts(tokens), strict=True))
        self._text_embeddings.update((question, embeddings[question]) for question in new)
        while len(self._text_embeddings) > _TEXT_CACHE_SIZE:
            self._text_embeddings.popitem(last=False)
        return embeddings

    def retain(
        self, features: ClipFeatures, prompts: Sequence[ImagePrompt], seeds: Sequence[int], pruning: PruningConfig
    ) -> Tensor:
        """Indices of the visual tokens that each prompt keeps, NxR int64, in the order given to the language model.

        Args:
            features: of the batch's images.
            prompts: all prompts about these images.
            seeds: each image's content seed.
            pruning: the rule.
        """
        context = features.context[[item.image_index for item in prompts]]
        num_tokens = context.shape[-1]
        if pruning.is_unpruned(num_tokens):
            return torch.arange(num_tokens, device=context.device).expand(len(prompts), -1)
        similarity, phrase_mask = self._similarity(features, prompts)
        selection = select_tokens(
            similarity,
            context,
            pruning,
            phrase_mask_BP=phrase_mask,
            image_seeds=[seeds[item.image_index] for item in prompts],
        )
        return order_tokens(selection, context, release_order=pruning.uses_release_order)

    def _similarity(self, features: ClipFeatures, prompts: Sequence[ImagePrompt]) -> tuple[Tensor, Tensor]:
        """NxQxV similarity to the prompts' questions, Q the most questions of a prompt, and which are real, NxQ."""
        embeddings = self.embed_questions([question for item in prompts for question in item.questions])
        most = max(len(item.questions) for item in prompts)
        device = features.embedded.device
        similarity = torch.zeros(len(prompts), most, features.embedded.shape[1], device=device)
        counts = torch.tensor([len(item.questions) for item in prompts], device=device)
        for row, item in enumerate(prompts):
            texts = torch.stack([embeddings[question] for question in item.questions])
            visual = features.embedded[item.image_index]
            similarity[row, : len(texts)] = similarity_scores(visual[None], texts[None])[0]
        return similarity, torch.arange(most, device=device)[None] < counts[:, None]

    def project(self, features: ClipFeatures) -> Tensor:
        """Visual tokens as the language model reads them, BxVxW."""
        return self.model.projector(features.patches)

    def prefill(
        self, visual: Tensor, prompts: Sequence[ImagePrompt], retained: Tensor, pruning: PruningConfig
    ) -> list[Tensor]:
        """One forward pass over padded prompts; per prompt the mask prompts of its rounds, QxC float32.

        Args:
            visual: BxVxW projected tokens of the batch's images.
            prompts: the N prompts to run together.
            retained: NxR.
            pruning: tells which position ids the kept tokens get.
        """
        lengths = [prompt_length(item.prompt, retained.shape[1]) for item in prompts]
        embeds, positions = self.embed(visual, prompts, retained, lengths, pruning)
        attend = (
            tree_mask(prompts, retained.shape[1], positions) if any(p.prompt.branch_starts for p in prompts) else None
        )
        hidden = self.model.hidden_states(embeds, positions, attend)
        rows = [row for row, item in enumerate(prompts) for _ in item.prompt.seg_indices]
        columns = [c for item in prompts for c in read_positions(item.prompt, retained.shape[1])]
        mask_prompts = self.model.mask_prompts(hidden[rows, columns])
        return list(mask_prompts.split([len(item.prompt.seg_indices) for item in prompts]))

    def embed(
        self,
        visual: Tensor,
        prompts: Sequence[ImagePrompt],
        retained: Tensor,
        lengths: Sequence[int],
        pruning: PruningConfig,
    ) -> tuple[Tensor, Tensor]:
        """Input embeddings NxSxW, padded on the right, and position ids NxS."""
        num_retained, num_visual = retained.shape[1], visual.shape[1]
        width = max(lengths)
        device = visual.device
        embeds = torch.zeros(len(prompts), width, visual.shape[-1], dtype=visual.dtype, device=device)
        positions = torch.arange(width, device=device).repeat(len(prompts), 1)
        for row, item in enumerate(prompts):
            start, end = item.prompt.image_index, item.prompt.image_index + num_retained
            ids = torch.tensor(item.prompt.input_ids, device=device)
            after = ids[start + 1 :][: lengths[row] - end]
            embeds[row, :start] = self.model.llm.embed_tokens(ids[:start])
            embeds[row, start:end] = visual[item.image_index, retained[row]]
            embeds[row, end : end + len(after)] = self.model.llm.embed_tokens(after)
            if pruning.positions == "original":
                positions[row, start:end] = start + retained[row]
                positions[row, end:] += num_visual - num_retained
            for branch in branch_positions(item.prompt, num_retained):
                positions[row, branch:] -= positions[row, branch] - positions[row, end]
        return embeds, positions

    def encode_sam(self, images: Sequence[PreparedImage]) -> Tensor:
        """Image embeddings BxCxGxG."""
        size = self.model.config.sam.image_size
        pixels = normalize_sam([image.sam_pixels for image in images], size, self.model.device, self.model.dtype)
        return self.model.grounding_encoder.encode_images(pixels)

    def decode(
        self, image_embeddings: Tensor, image_index: Sequence[int], mask_prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits PxLxL and predicted IoU P, float32.

        Args:
            image_embeddings: BxCxGxG.
            image_index: for each phrase, its image within the batch.
            mask_prompts: PxC.
        """
        return self.model.grounding_encoder.decode_masks(image_embeddings[list(image_index)], mask_prompts)


def read_positions(prompt: Prompt, num_retained: int) -> list[int]:
    """Where, in the sequence with visual tokens, the hidden states just before each `[SEG]` stand."""
    return [index - 1 + num_retained - 1 for index in prompt.seg_indices]


def branch_positions(prompt: Prompt, num_retained: int) -> list[int]:
    """Where, in the sequence with visual tokens, the branches start; none but in the layout `shared`."""
    return [index + num_retained - 1 for index in prompt.branch_starts]


def tree_mask(prompts: Sequence[ImagePrompt], num_retained: int, positions: Tensor) -> Tensor:
    """Nx1xSxS bool: every token sees what precedes it in the shared prefix and in its own branch."""
    index = torch.arange(positions.shape[1], device=positions.device)
    branch = torch.zeros_like(positions)
    for row, item in enumerate(prompts):
        for start in branch_positions(item.prompt, num_retained):
            branch[row, start:] += 1
    same = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    return (same & (index[:, None] >= index))[:, None]


def prompt_length(prompt: Prompt, num_retained: int) -> int:
    """Tokens that must be computed: up to the one just before the last `[SEG]`."""
    return read_positions(prompt, num_retained)[-1] + 1
