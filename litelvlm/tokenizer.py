"""LLaMA's sentencepiece tokeniser with the added-token behaviour that GLaMM, LISA and GSVA were trained with.

`LlamaTokenizer` of transformers 5 keeps a lone `▁` before added tokens, whatever its `legacy` setting, and so yields
ids that the checkpoint never saw. The releases' tokeniser stripped white space around added tokens and gave each run of
text after one a fresh dummy prefix; that is what this module does, on top of the sentencepiece library itself.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import sentencepiece

from litelvlm.added_tokens import REQUIRED_TOKENS, added_tokens
from litelvlm.checkpoint_files import refuse_pointer
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM

TOKENIZER_MODEL = "tokenizer.model"


class Token(str):
    """A piece of a prompt that is one token of the vocabulary, as opposed to text that merely looks like one."""


BOS, EOS, IMAGE = Token("<s>"), Token("</s>"), Token("<image>")
IM_START, IM_END, SEG = Token("<im_start>"), Token("<im_end>"), Token("[SEG]")
MAX_MODEL_BYTES = 64 * 2**20
_REMEMBERED_TEXTS = 1024  # the fixed parts of prompts, and phrases that come again
IMAGE_ID = -200  # stands for the image's visual tokens in a list of ids, as in LLaVA


class GlammTokenizer:
    """Turns prompts, given as runs of text and `Token`s, into ids.

    Args:
        directory: holds `tokenizer.model` and, where the added tokens do not simply follow the sentencepiece
            vocabulary in the model's order, files that tell their ids (`litelvlm.added_tokens`).
        description: the model's, whose prompts are built.

    Raises:
        FileNotFoundError: if there is no `tokenizer.model`.
        ValueError: if a file is malformed or a token that the model needs is absent.
    """

    def __init__(self, directory: str | Path, description: ModelDescription = GLAMM) -> None:
        self.description = description
        path = Path(directory) / TOKENIZER_MODEL
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer.model in {directory}; a {description.title} checkpoint ships one")
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ValueError(f"{path}: is larger than {MAX_MODEL_BYTES} bytes")
        refuse_pointer(path)
        try:
            self._sentencepiece = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} is not a sentencepiece model") from error
        self._encode_text = lru_cache(_REMEMBERED_TEXTS)(self._sentencepiece.encode)
        self._ids = {str(BOS): self._sentencepiece.bos_id(), str(EOS): self._sentencepiece.eos_id()}
        self._ids |= added_tokens(Path(directory), self._sentencepiece.vocab_size(), description.added_tokens)
        if min(self._ids.values()) < 0:
            raise ValueError(f"{path}: has no token for the beginning or the end of a text")
        needed = (*REQUIRED_TOKENS, description.reject_token) if description.reject_token else REQUIRED_TOKENS
        missing = [token for token in needed if token not in self._ids]
        if missing:
            raise ValueError(f"{directory}/added_tokens.json: lacks {', '.join(missing)}")

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._sentencepiece.vocab_size() - 1, *self._ids.values()) + 1

    def token_id(self, token: str) -> int:
        """The id of an added token."""
        return IMAGE_ID if token == IMAGE else self._ids[token]

    def split(self, text: str) -> list[str]:
        """Parts a trusted text (a template, never a phrase) into runs of text and `Token`s."""
        parts: list[str] = [text]
        for token in sorted(self._ids, key=len, reverse=True):
            parts = [piece for part in parts for piece in _split_at(part, token)]
        return parts

    def encode(self, parts: list[str]) -> list[int]:
        """Ids of a prompt: each `Token` is its id, each run of text between is encoded by itself.

        White space next to an added token other than `<s>` and `</s>` is stripped first, as the releases did.
        """
        ids: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, Token):
                ids.append(self.token_id(part))
                continue
            if index > 0 and _strips(parts[index - 1]):
                part = part.lstrip()
            if index + 1 < len(parts) and _strips(parts[index + 1]):
                part = part.rstrip()
            if part:
                ids.extend(self._encode_text(part))
        return ids


def _strips(part: str) -> bool:
    return isinstance(part, Token) and part not in (BOS, EOS, IMAGE)


def _split_at(part: str, token: str) -> list[str]:
    if isinstance(part, Token) or token not in part:
        return [part]
    pieces: list[str] = []
    for index, piece in enumerate(part.split(token)):
        if index:
            pieces.append(Token(token))
        if piece:
            pieces.append(piece)
    return pieces
