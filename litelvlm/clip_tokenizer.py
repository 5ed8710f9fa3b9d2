"""CLIP's byte-pair tokeniser, as open_clip implements it."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer


def load_clip_tokenizer(merges: Path | None, context_length: int) -> SimpleTokenizer:
    """The tokeniser of a CLIP checkpoint.

    Args:
        merges: a `merges.txt` in Hugging Face's form for a vocabulary other than OpenAI's; None for OpenAI's.
        context_length: texts are cut to this many tokens.

    Raises:
        FileNotFoundError, ValueError: if `merges` is absent or not text.
    """
    if merges is None:
        return SimpleTokenizer(context_length=context_length)
    try:
        text = merges.read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{merges} is not a list of BPE merges") from error
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "bpe.txt.gz"
        packed.write_bytes(gzip.compress(text.encode("utf-8")))
        return SimpleTokenizer(str(packed), context_length=context_length)
