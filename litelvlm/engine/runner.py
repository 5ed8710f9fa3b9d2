"""The runner: everything that touches tensors, in the order of the forward pass.

It never decides what runs together. Shapes: B images, N prompts, P phrases of all images together, V visual tokens,
R of them kept, T tokens of all prompts together, W the language model's width, C the grounding encoder's channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.clip_tokenizer import ClipTokenizer, cut_texts
from litelvlm.compiled_clip import clip_encoder
from litelvlm.config import PruningConfig
from litelvlm.engine import fastv
from litelvlm.engine.packed_tensors import pack
from litelvlm.engine.packing import PackPlan, plan_packing
from litelvlm.engine.retention import ImagePrompt, Retained, retain
from litelvlm.formulation import Formulation
from litelvlm.glamm import GlammModel
from litelvlm.mask_decoder import PhraseMaskDecoder
from litelvlm.masked_crops import KEPT_OUTSIDE, covered, masked_crops
from litelvlm.packed_llama import PackedLlama
from litelvlm.packed_prompts import KeysValues, PackedPrompts
from litelvlm.pixels import clip_planes, normalize_clip, normalize_sam
from litelvlm.preprocess import PreparedImage
from litelvlm.sam_encoders import sam_encoder
from litelvlm.transfer import on_device

_TEXT_CACHE_SIZE = 20_000
_TEXT_BATCH = 64


class Answered(NamedTuple):
    """What a prompt of Q rounds gives.

    Attributes:
        mask_prompts: QxC float32.
        patches: R, those kept to the end.
        seg_probability: Q float32; None without `lm_head`.
        absent_probability: Q float32, how likely the model took the token that rejects; None where it has none.
        absent: Q bool, whether that is the likeliest.
    """

    mask_prompts: Tensor
    patches: Tensor
    seg_probability: Tensor | None
    absent_probability: Tensor | None = None
    absent: Tensor | None = None


class Runner:
    """Runs a model's stages.

    Args:
        model: on its device, in its dtype.
        clip_tokenizer: CLIP's own tokeniser.
        formulation: how its parts compute; None is the one for a CPU.
        seg_id: the token `[SEG]`, for a model with `lm_head`.
        reject_id: the token that rejects a phrase; None where the model has none.
    """

    def __init__(
        self,
        model: GlammModel,
        clip_tokenizer: ClipTokenizer,
        *,
        formulation: Formulation | None = None,
        seg_id: int = 0,
        reject_id: int | None = None,
    ) -> None:
        formulation = formulation or Formulation()
        self.model = model
        self._reject_id = reject_id
        self._seg_id = seg_id
        self._clip_tokenizer = clip_tokenizer
        self._text_embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._llama = PackedLlama(model.llm, formulation.llama)
        self._encode_clip = clip_encoder(model.clip, formulation.clip)
        self._encode_sam = sam_encoder(model.grounding_encoder, formulation.sam)
        self._decode_masks = PhraseMaskDecoder(model.grounding_encoder)
        self._prefixes: dict[tuple[int, ...], list[KeysValues]] = {}

    def encode_clip(self, images: Sequence[PreparedImage]) -> ClipFeatures:
        """CLIP features of B images."""
        pixels = normalize_clip([image.clip_pixels for image in images], self.model.device, self.model.dtype)
        return self._encode_clip(pixels)

    def embed_questions(self, questions: Sequence[str]) -> dict[str, Tensor]:
        """CLIP text embedding of each question, E float32; remembered across calls."""
        embeddings: dict[str, Tensor] = {}
        for question in dict.fromkeys(questions):
            if question in self._text_embeddings:
                self._text_embeddings.move_to_end(question)
                embeddings[question] = self._text_embeddings[question]
        new = [question for question in dict.fromkeys(questions) if question not in embeddings]
        # All texts before all tensors: a CPU's threads fall asleep while they wait for the tokeniser.
        tokens = self._clip_tokenizer(new).split(_TEXT_BATCH) if new else []
        parts = [cut_texts(part).to(self.model.device, non_blocking=True) for part in tokens]
        encoded = [embedding for part in parts for embedding in self.model.clip.encode_texts(part)]
        embeddings.update(zip(new, encoded, strict=True))
        self._text_embeddings.update((question, embeddings[question]) for question in new)
        while len(self._text_embeddings) > _TEXT_CACHE_SIZE:
            self._text_embeddings.popitem(last=False)
        return embeddings

    def retain(
        self, features: ClipFeatures, prompts: Sequence[ImagePrompt], seeds: Sequence[int], pruning: PruningConfig
    ) -> Retained:
        """The visual tokens that each prompt keeps before the language model.

        Args:
            features: of the batch's images.
            prompts: all prompts about these images.
            seeds: each image's content seed.
            pruning: the rule.
        """
        return retain(self.model, features, prompts, seeds, pruning, self.embed_questions)

    def project(self, features: ClipFeatures, retained: Retained | None = None) -> Tensor:
        """Visual tokens as the language model reads them: the images' BxVxW, or those that the rule has merged."""
        if retained is not None and retained.projected is not None and retained.merged is None:
            return retained.projected.to(self.model.dtype)
        return self.model.projector(
            features.patches if retained is None or retained.merged is None else retained.merged
        )

    def prefill(
        self, visual: Tensor, prompts: Sequence[ImagePrompt], retained: Retained, pruning: PruningConfig
    ) -> list[Answered]:
        """One forward pass over packed prompts. Returns what each gives.

        Args:
            visual: what `project` made of the batch.
            prompts: the N prompts to run together.
            retained: their visual tokens.
            pruning: tells which position ids the kept tokens get, and what the language model itself drops.
        """
        num_visual = self.model.config.num_visual_tokens
        if pruning.inside_llm and not pruning.is_unpruned(num_visual):
            hidden, indices = self._prefill_inside(visual, prompts, retained, pruning)
        else:
            plan, packed = self._packed(visual, prompts, retained, original=pruning.uses_original_positions)
            hidden, indices = self._llama(packed, self._prefix(plan.prefix_ids)), retained.indices
        rounds = [len(item.prompt.seg_indices) for item in prompts]
        probability = self.model.token_probability(hidden, self._seg_id)
        probabilities = [None] * len(prompts) if probability is None else probability.split(rounds)
        answers = zip(self.model.mask_prompts(hidden).split(rounds), indices, probabilities, strict=True)
        found = [Answered(*one) for one in answers]
        if self._reject_id is None:
            return found
        rejection = zip(*(one.split(rounds) for one in self.model.rejection(hidden, self._reject_id)), strict=True)
        return [
            one._replace(absent_probability=likely, absent=is_top)
            for one, (likely, is_top) in zip(found, rejection, strict=True)
        ]

    def _prefill_inside(
        self, visual: Tensor, prompts: Sequence[ImagePrompt], retained: Retained, pruning: PruningConfig
    ) -> tuple[Tensor, Tensor]:
        """FastV: the hidden states that are read, and the patches kept, NxR."""
        num_visual, device = retained.num_tokens, visual.device
        budget, layer = pruning.budget(num_visual), pruning.fastv_layer
        whole, packed = self._packed(visual, prompts, retained, original=True)
        prefix = self._prefix(whole.prefix_ids)
        scanned = fastv.scan(self._llama, packed, prefix, num_visual=num_visual, budget=budget, layer=layer)
        kept = Retained(indices=scanned.kept, sources=retained.sources.gather(1, scanned.kept))
        plan, pruned = self._packed(visual, prompts, kept, original=True)
        hidden = fastv.finish(
            self._llama,
            scanned,
            pruned,
            prefix,
            whole_visual=on_device(whole.visual_places, device),
            whole_text=on_device(whole.text_places, device),
            visual=on_device(plan.visual_places, device),
            text=on_device(plan.text_places, device),
        )
        return hidden, scanned.kept

    def _packed(
        self, visual: Tensor, prompts: Sequence[ImagePrompt], retained: Retained, *, original: bool
    ) -> tuple[PackPlan, PackedPrompts]:
        """Prompts laid end to end; `original` as in `pack`."""
        text_start = self.model.config.num_visual_tokens if original else retained.num_tokens
        plan = plan_packing([item.prompt for item in prompts], retained.num_tokens, text_start=text_start)
        table, rows = visual.flatten(0, 1)[None], [0] * len(prompts)
        return plan, self.pack(plan, table, rows, retained.sources, original=original, patches=retained.indices)

    def pack(
        self,
        plan: PackPlan,
        visual: Tensor,
        image_index: Sequence[int],
        retained: Tensor,
        *,
        original: bool,
        patches: Tensor | None = None,
    ) -> PackedPrompts:
        """The plan's tensors, on the model's device; as `packed_tensors.pack`, with the model's embeddings."""
        embed_tokens = self.model.llm.embed_tokens
        return pack(plan, visual, image_index, retained, embed_tokens, original=original, patches=patches)

    def _prefix(self, input_ids: tuple[int, ...]) -> list[KeysValues]:
        """Keys and values of what all prompts begin with; computed once for a model."""
        if input_ids not in self._prefixes:
            self._prefixes[input_ids] = self._llama.prefix(on_device(input_ids, self.model.device))
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
        return self._decode_masks(image_embeddings, image_index, mask_prompts)

    def clip_similarity(
        self, image: PreparedImage, logits: Tensor, texts: Sequence[str], *, kept: float = KEPT_OUTSIDE
    ) -> Tensor:
        """Cosine of CLIP's embeddings of P texts and of what P masks of one image show, P float32; NaN for empty masks.

        Args:
            image: the image.
            logits: PxLxL, low-resolution.
            texts: P of them.
            kept: share of what lies beside a mask that is shown, 0 to 1.
        """
        sizes, target = self.model.config.clip, self.model.config.sam.image_size
        planes = clip_planes(image.sam_pixels, self.model.device)
        crops = masked_crops(planes, logits, target=target, size=sizes.image_size, kept=kept)
        seen = F.normalize(self.model.clip.embed_images(crops.to(self.model.dtype)), dim=-1)
        embedded = self.embed_questions(texts)
        read = F.normalize(torch.stack([embedded[text] for text in texts]), dim=-1)
        is_empty = ~covered(logits, image.sam_pixels.shape[:2], target).flatten(1).any(1)
        return (seen * read).sum(-1).masked_fill(is_empty, float("nan"))
