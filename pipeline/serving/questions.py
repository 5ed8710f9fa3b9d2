"""What goes to a replica of the model and what comes back. Plain data: it travels between processes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.serving.embedding_cache import CacheFacts

if TYPE_CHECKING:
    from litelvlm import PreparedImage

MODEL, RUN = "model", "run"  # where an answer is from


@dataclass(frozen=True, kw_only=True)
class Question:
    """An image and the phrases asked of it.

    Attributes:
        image_key: identity of the image's pixels as the model reads them, see `image_key`.
        phrases: as they enter the prompt.
        num_retain_tokens: visual tokens kept per prompt; None is all.
        rule: the pruning rule.
        prepared: the image; None where the replica is thought to hold its embedding.
        expires_at: seconds since the epoch after which nobody waits for the answer.
    """

    image_key: str
    phrases: tuple[str, ...]
    num_retain_tokens: int | None
    rule: str
    prepared: PreparedImage | None
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class PhraseAnswer:
    """The answer to a phrase.

    Attributes:
        status: as in a run's records: ok, empty, absent or failed.
        error: why it failed.
        mask: None where it failed.
        score: in [0, 1]; None without a mask.
        num_visual_tokens, num_retained_tokens: before pruning, and kept.
        retained: indices of the patches kept, in the order given to the language model; empty where it is not known.
        source: `MODEL` or `RUN`.
    """

    status: str
    error: str | None = None
    mask: EncodedMask | None = None
    score: float | None = None
    num_visual_tokens: int | None = None
    num_retained_tokens: int | None = None
    retained: tuple[int, ...] = ()
    source: str = MODEL


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a question is answered with.

    Attributes:
        phrases: one for each phrase, in order.
        size_hw: of the upright image, in pixels.
        cached_image: whether its embedding was there already.
        seconds: that the replica took, by stage; shared by all questions of a batch.
        batch_images: images of that batch.
        cache: how the replica's cache stands.
        replica: its name.
    """

    phrases: tuple[PhraseAnswer, ...]
    size_hw: tuple[int, int]
    cached_image: bool
    seconds: dict[str, float] = field(default_factory=dict)
    batch_images: int = 1
    cache: CacheFacts | None = None
    replica: str = ""


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """Why a question has no answer.

    Attributes:
        reason: `MISSING_IMAGE`: ask again with the image; `EXPIRED`: nobody waits any more.
    """

    reason: str


MISSING_IMAGE, EXPIRED = "missing_image", "expired"


def image_key(data: bytes, model: str) -> str:
    """Identity of an image for a model: of its encoded bytes, 32 hex digits, after what names the model and its
    preprocessing."""
    return f"{model}:{hashlib.blake2b(data, digest_size=16).hexdigest()}"
