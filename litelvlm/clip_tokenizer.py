"""CLIP's byte-pair tokeniser, as open_clip implements it."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from litelvlm.checkpoint_files import refuse_pointer

MAX_CACHED_WORDS = 20_000
MAX_MERGES_BYTES = 16 * 2**20
_STEP = 8  # tokens: texts of nearly the same length are of one shape
_BASE_IDS = 2 * 256  # every byte, within and at the end of a word


class ClipTokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip has no types
    """open_clip's, which keeps every word that it ever saw, with a memory that does not grow for days."""

    cache: dict[str, str]

    def bpe(self, token: str) -> str:
        if len(self.cache) > MAX_CACHED_WORDS:
            self.cache = {special: special for special in ("<start_of_text>", "<end_of_text>")}
        return super().bpe(token)


def cut_texts(tokens: Tensor) -> Tensor:
    """Token ids NxC without the padding that all of the texts have, up to a multiple of 8; on the host.

    CLIP's text tower is causal: `[EOS]` sees none of what stands behind it.
    """
    longest = int(text_lengths(tokens).max())
    return tokens[:, : -(-longest // _STEP) * _STEP]


def text_lengths(tokens: Tensor) -> Tensor:
    """N of token ids NxC: up to `[EOS]`, the highest number of all. Padding is 0, which is a word's id, too: "!"."""
    return tokens.argmax(1) + 1


def check_merges(merges: Path, vocab_size: int) -> None:
    """Raises ValueError where a list of merges is unreadable or yields ids that a table of `vocab_size` rows lacks."""
    text = _read_merges(merges)
    needed = _BASE_IDS + text.count("\n") + 2
    if needed > vocab_size:
        raise ValueError(f"{merges}: makes {needed} token ids, the text tower knows {vocab_size}")


def _read_merges(merges: Path) -> str:
    if merges.stat().st_size > MAX_MERGES_BYTES:
        raise ValueError(f"{merges}: is larger than {MAX_MERGES_BYTES} bytes")
    refuse_pointer(merges)
    try:
        return merges.read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{merges} is not a list of BPE merges") from error


def load_clip_tokenizer(merges: Path | None, context_length: int) -> ClipTokenizer:
    """The tokeniser of a CLIP checkpoint.

    Args:
        merges: a `merges.txt` in Hugging Face's form for a vocabulary other than OpenAI's; None for OpenAI's.
        context_length: texts are cut to this many tokens.

    Raises:
        FileNotFoundError, ValueError: if `merges` is absent or not text.
    """
    if merges is None:
        return ClipTokenizer(context_length=context_length)
    text = _read_merges(merges)
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "bpe.txt.gz"
        packed.write_bytes(gzip.compress(text.encode("utf-8")))
        return ClipTokenizer(str(packed), context_length=context_length)
