"""The runner: everything that touches tensors, in the order of the forward pass.

It never decides what runs together. Shapes: B images, N prompts, P phrases of all images together, V visual tokens,
R of them kept, T tokens of all prompts together, W the language model's width, C the grounding encoder's channels.
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
from litelvlm.engine.packing import PackPlan, plan_packing
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.glamm import GlammModel
from litelvlm.packed_llama import KeysValues, PackedLlama, PackedPrompts
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
        self._llama = PackedLlama(model.llm)
        grounding = model.grounding_encoder
        # Folding spares a GPU the bias, 0.5 GB in each global layer; a CPU is a fifth slower with it.
        on_gpu = model.device.type == "cuda"
        self._encode_sam = FoldedSamEncoder(grounding.image_encoder) if on_gpu else grounding.encode_images
        self._prefixes: dict[tuple[int, ...], list[KeysValues]] = {}

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
        """One forward pass over packed prompts; per prompt the mask prompts of its rounds, QxC float32.

        Args:
            visual: BxVxW projected tokens of the batch's images.
            prompts: the N prompts to run together.
            retained: NxR.
            pruning: tells which position ids the kept tokens get.
        """
        original = pruning.positions == "original"
        plan = plan_packing(
            [item.prompt for item in prompts],
            retained.shape[1],
            text_start=visual.shape[1] if original else retained.shape[1],
        )
        packed = self.pack(plan, visual, [item.image_index for item in prompts], retained, original=original)
        mask_prompts = self.model.mask_prompts(self._llama(packed, self._prefix(plan.prefix_ids)))
        return list(mask_prompts.split([len(item.prompt.seg_indices) for item in prompts]))

    def pack(
        self, plan: PackPlan, visual: Tensor, image_index: Sequence[int], retained: Tensor, *, original: bool
    ) -> PackedPrompts:
        """The plan's tensors, on the model's device.

        Args:
            plan: where what stands.
            visual: BxVxW.
            image_index: each prompt's image.
            retained: NxR.
            original: whether kept tokens carry the position ids that they have in the unpruned prompt.
        """
        device = visual.device

        def on_device(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64).to(device, non_blocking=True)

        embeds = visual.new_empty(plan.num_tokens, visual.shape[-1])
        places = on_device(plan.visual_places)
        embeds[places] = visual[on_device(image_index)[:, None], retained].flatten(0, 1)
        embeds[on_device(plan.text_places)] = self.model.llm.embed_tokens(on_device(plan.text_ids))
        position_ids = on_device(plan.position_ids)
        if original:
            position_ids[places] = len(plan.prefix_ids) + retained.flatten()
        return PackedPrompts(
            embeds=embeds,
            position_ids=position_ids,
            rows=on_device(plan.rows),
            columns=on_device(plan.columns),
            num_rows=len(image_index),
            width=plan.width,
            read=on_device(plan.read),
            read_slots=on_device(plan.read_slots),
            num_slots=max(plan.read_slots) + 1,
            branches=on_device(plan.branches) if plan.branches else None,
        )

    def _prefix(self, input_ids: tuple[int, ...]) -> list[KeysValues]:
        """Keys and values of what all prompts begin with; computed once for a model."""
        if input_ids not in self._prefixes:
            self._prefixes[input_ids] = self._llama.prefix(torch.tensor(input_ids, device=self.model.device))
        return self._prefixes[input_ids]

    def encode_sam(self, images: Sequence[PreparedImage]) -> Tensor:
        """Image embeddings BxCxGxG."""
        size = self.model.config.sam.image_size
        pixels = normalize_sam([image.sam_pixels for image in images], size, self.model.device, self.model.dtype)
        return self._encode_sam(pixels)

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
