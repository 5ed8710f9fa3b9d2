"""Input for models of random weights: a tokeniser, phrases and prepared images, all drawn.

The tokeniser gives prompts the length that LLaMA's gives them: it is trained on the prompt's own words, so that each is
a token as there. Phrases differ from round to round, lest text embeddings that an engine remembers count as computed.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from PIL import Image

from litelvlm.config import GlammConfig
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM
from litelvlm.preprocess import PreparedImage, sam_input_size

_NOUNS = ("person", "dog", "car", "table", "tree", "chair", "bottle", "child")
_TRAITS = ("red", "blue", "small", "large", "striped", "wooden")
_PLACES = ("left", "right", "top", "bottom")
_VOCABULARY = 1000
_FIRST_ADDED_ID = 32000  # where LLaMA's own vocabulary ends


def write_tokenizer(directory: Path, description: ModelDescription = GLAMM) -> None:
    """`tokenizer.model` and `added_tokens.json`, as a model's checkpoint has them, with ids of its added tokens."""
    opening = f"{description.system} {description.user}{description.before_image}".strip()
    asked = f"{description.question}{description.assistant}{description.answer}"
    texts = [opening, description.after_image, asked, _phrase(_NOUNS, _TRAITS, _PLACES, "7")]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*texts, "0 1 2 3 4 5 6 7 8 9"] * 20),  # what is rare would not become a token
        model_writer=model,
        model_type="bpe",
        vocab_size=_VOCABULARY,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_digits=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    (directory / "tokenizer.model").write_bytes(model.getvalue())
    ids = {token: _FIRST_ADDED_ID + offset for offset, token in enumerate(description.added_tokens)}
    (directory / "added_tokens.json").write_text(json.dumps(ids), encoding="utf-8")


def draw_phrases(count: int, seed: str) -> list[str]:
    """So many referring expressions of about nine tokens, none twice; the seed is part of each."""
    rng = random.Random(seed)
    number = rng.randrange(1000)
    return [
        _phrase([rng.choice(_NOUNS)], [rng.choice(_TRAITS)], [rng.choice(_PLACES)], str(number + index))
        for index in range(count)
    ]


def draw_image(config: GlammConfig, size_hw: tuple[int, int], seed: int) -> PreparedImage:
    """Blobs of colour, already at both encoders' sizes.

    Args:
        config: the model's.
        size_hw: height and width of the original.
        seed: of the blobs.
    """
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    side = config.clip.image_size
    height, width = sam_input_size(size_hw, config.sam.image_size)
    clip, sam = (np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) for size in ((side, side), (width, height)))
    return PreparedImage(clip_pixels=clip.copy(), sam_pixels=sam.copy(), original_size_hw=size_hw)


def jpeg(size_hw: tuple[int, int]) -> bytes:
    """A picture with the smoothness and the noise of a photograph."""
    height, width = size_hw
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    noisy = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _phrase(nouns: Sequence[str], traits: Sequence[str], places: Sequence[str], number: str) -> str:
    noun, trait, place = (" ".join(words) for words in (nouns, traits, places))
    return f"{trait} {noun} number {number} on the {place}"
