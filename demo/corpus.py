"""The language of the demo: its templates, and a tokeniser trained on them, in the published file layout."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece

from litelvlm.config import PromptTemplate
from litelvlm.demo.rendering import SceneArrays
from litelvlm.models.glamm import GLAMM
from litelvlm.models.lisa import LISA

VOCABULARY = 640
TEMPLATES = (
    PromptTemplate(),
    PromptTemplate(question="Please segment {phrase} in this image.", answer="Sure, it is [SEG]."),
    PromptTemplate(
        question="Where is the {phrase} in this picture? Please respond with a segmentation mask.",
        answer="Sure, the segmentation result is [SEG].",
    ),
)

# The first is that of LISA's evaluation on RefCOCO, the others are among those that it is trained with.
LISA_TEMPLATES = (
    PromptTemplate(question=LISA.question, answer=LISA.answer),
    PromptTemplate(question=" Can you segment the {phrase} in this image?", answer="Sure, it is [SEG]."),
    PromptTemplate(question=" Please segment the {phrase} in this image.", answer="It is [SEG]."),
)


def train_tokenizer(scenes: SceneArrays, directory: Path) -> None:
    """Trains a byte-fallback sentencepiece model on prompts and phrases; writes it with the added tokens' ids."""
    directory.mkdir(parents=True, exist_ok=True)
    phrases = [text for expressions in scenes.expressions[:3000] for text, _ in expressions]
    fixed = [GLAMM.system, GLAMM.after_image.strip(), "USER: The", "ASSISTANT:"]
    fixed += [template.ask("it") for template in TEMPLATES]
    fixed += [template.answer.replace("[SEG]", "") for template in TEMPLATES]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(fixed * 200 + phrases[:40000]),
        model_prefix=str(directory / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    (directory / "tokenizer.vocab").unlink()
    size = sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model")).vocab_size()
    added = {token: size + index for index, token in enumerate(GLAMM.added_tokens)}
    (directory / "added_tokens.json").write_text(json.dumps(added, indent=1) + "\n")
