"""What the marker of an evaluated shard says beside what every marker does."""

from __future__ import annotations

from dataclasses import dataclass

from litelvlm.pipeline.shards.markers import Marker


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What a shard took on the model's device, and where.

    Attributes:
        encode_s: seconds that all combinations share.
        answer_s, llm_s: seconds of each combination, those of the language model among them.
        images: encoded.
        prompts, text_tokens: of one combination.
    """

    encode_s: float
    answer_s: list[float]
    llm_s: list[float]
    images: int
    prompts: int
    text_tokens: int
    node: str
    device: str


@dataclass(frozen=True, kw_only=True)
class AnswersMarker(Marker):
    """The marker of an evaluated shard.

    Attributes:
        answers: rows in its data file.
        conversations: the key of each of its images that could be read.
    """

    answers: int
    facts: SweepFacts
    conversations: list[str]
