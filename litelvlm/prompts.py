"""From phrases to token ids: normalising a phrase, and the three prompt layouts.

`rounds` is GLaMM's layout: all phrases of an image are rounds of one conversation, and later rounds see earlier ones.
`separate` is one conversation of a single round per phrase, as LISA has it. `shared` computes what `separate` does, for
visual tokens that the phrases share: one prefix per image, and every phrase an independent branch behind it. How a
model frames its questions is in its description, which the tokeniser carries. One that lists phrases (GSVA) has all
phrases of a conversation in a single round.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from litelvlm.config import PHRASE_FIELD, SEG_TOKEN, PromptTemplate
from litelvlm.models.description import SEPARATOR, ModelDescription
from litelvlm.tokenizer import BOS, EOS, IM_END, IM_START, IMAGE, IMAGE_ID, SEG, GlammTokenizer, Token

MAX_PHRASE_CHARS = 2000
MAX_PHRASE_TOKENS = 256
MAX_SHARED_TEXT_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One conversation, tokenised.

    Attributes:
        input_ids: token ids; `IMAGE_ID` (-200) stands once for all visual tokens.
        image_index: where in `input_ids` the image stands.
        seg_indices: for each phrase, where in `input_ids` its `[SEG]` stands.
        phrase_indices: which of the image's phrases the rounds of this conversation ask, in order.
        branch_starts: in the layout `shared`, where in `input_ids` each phrase's branch starts; otherwise empty.
        read_offset: how many tokens before each `[SEG]` the state is read.
    """

    input_ids: tuple[int, ...]
    image_index: int
    seg_indices: tuple[int, ...]
    phrase_indices: tuple[int, ...]
    branch_starts: tuple[int, ...] = ()
    read_offset: int = 1

    @property
    def num_text_tokens(self) -> int:
        return len(self.input_ids) - 1


def normalize_phrase(phrase: str, *, lower_case: bool = True) -> str:
    """Strips a phrase and lower-cases it, as the releases do; control characters and line breaks become spaces.

    Raises:
        ValueError: with a reason a person can read, if the phrase is not text, empty, or too long.
    """
    if not isinstance(phrase, str):
        raise ValueError(f"phrase is not text but {type(phrase).__name__}")
    if len(phrase) > MAX_PHRASE_CHARS:
        raise ValueError(f"phrase has {len(phrase)} characters; at most {MAX_PHRASE_CHARS} are allowed")
    cleaned = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") else char for char in phrase)
    cleaned = cleaned.strip().lower() if lower_case else cleaned.strip()
    if not any(unicodedata.category(char) not in ("Cf", "Zs", "Mn") for char in cleaned):
        raise ValueError("phrase is empty")
    return cleaned


def check_phrase(phrase: str, template: PromptTemplate, tokenizer: GlammTokenizer) -> str:
    """The normalised phrase, known to fit a prompt.

    Raises:
        ValueError: with a reason a person can read.
    """
    stripped = tokenizer.description.stripped
    normalized = normalize_phrase(phrase, lower_case=template.lower_case)
    normalized = normalize_phrase(normalized.strip(stripped), lower_case=False) if stripped else normalized
    asked, empty = (_num_tokens(_round_parts(text, template, tokenizer), tokenizer) for text in (normalized, ""))
    if asked - empty > MAX_PHRASE_TOKENS:
        raise ValueError(f"phrase has {asked - empty} tokens; at most {MAX_PHRASE_TOKENS} are allowed")
    return normalized


def build_prompts(
    phrases: list[str],
    template: PromptTemplate | Sequence[PromptTemplate],
    tokenizer: GlammTokenizer,
    *,
    layout: str,
    max_text_tokens: int,
) -> list[Prompt]:
    """The conversations that ask an image's phrases.

    Args:
        phrases: normalised phrases; their text never becomes a special token, whatever it looks like.
        template: of all phrases, or one for each.
        layout: "rounds", "separate" or "shared".
        max_text_tokens: what the model's context leaves room for; in `rounds`, a conversation is continued in a new one
            before its text grows longer. In `shared`, positions restart in every branch, and a sequence ends at
            `MAX_SHARED_TEXT_TOKENS`.

    Raises:
        ValueError: if a single round is longer than `max_text_tokens`.
    """
    templates = [template] * len(phrases) if isinstance(template, PromptTemplate) else template
    rounds = [_round_parts(phrase, own, tokenizer) for phrase, own in zip(phrases, templates, strict=True)]
    num_opening = len(tokenizer.encode(_opening(tokenizer.description))) - 1  # the image is visual tokens, not text
    # A round counts with the longer of what may begin it, and without `<im_end>`, which stands in the opening.
    frame = tokenizer.description
    beginnings = [len(tokenizer.encode([text])) for text in (frame.after_image, frame.user)]
    difference = max(beginnings) - len(tokenizer.encode([IM_END, frame.after_image]))
    conversations: list[list[int]] = []
    used = 0
    for index, parts in enumerate(rounds):
        num_tokens = _num_tokens(parts, tokenizer) + difference
        if num_opening + num_tokens > max_text_tokens:
            raise ValueError(
                f"phrase {index}: its prompt has {num_opening + num_tokens} text tokens, the model's context leaves "
                f"room for {max_text_tokens}; shorten the phrase or the template"
            )
        if layout == "separate" or not conversations or used + num_tokens > max_text_tokens:
            conversations.append([])
            used = num_opening
        conversations[-1].append(index)
        used += num_tokens
    if layout == "shared":
        return _shared([_build([index], rounds, tokenizer) for index in range(len(phrases))])
    if frame.lists_phrases:
        lists = [group for members in conversations for group in _of_one_template(members, templates)]
        return [_build_list(members, phrases, templates[members[0]], tokenizer) for members in lists]
    return [_build(members, rounds, tokenizer) for members in conversations]


def _shared(prompts: list[Prompt]) -> list[Prompt]:
    """Joins prompts of one phrase each behind their common prefix; a branch ends with its `[SEG]`."""
    joined: list[Prompt] = []
    for prompt in prompts:
        start = prompt.image_index + 1
        branch = prompt.input_ids[start : prompt.seg_indices[0] + 1]
        ids = joined[-1].input_ids if joined else ()
        if not ids or len(ids) + len(branch) > MAX_SHARED_TEXT_TOKENS:
            ids = prompt.input_ids[:start]
            joined.append(Prompt(input_ids=ids, image_index=start - 1, seg_indices=(), phrase_indices=()))
        last = joined[-1]
        joined[-1] = Prompt(
            input_ids=ids + branch,
            image_index=last.image_index,
            seg_indices=(*last.seg_indices, len(ids) + len(branch) - 1),
            phrase_indices=last.phrase_indices + prompt.phrase_indices,
            branch_starts=(*last.branch_starts, len(ids)),
            read_offset=prompt.read_offset,
        )
    return joined


def _build(members: list[int], rounds: list[list[str]], tokenizer: GlammTokenizer) -> Prompt:
    frame = tokenizer.description
    parts = _opening(frame)
    for number, index in enumerate(members):
        parts += [frame.after_image if number == 0 else frame.user, *rounds[index]]
    return _tokenised(parts, members, tokenizer)


def _of_one_template(members: list[int], templates: Sequence[PromptTemplate]) -> list[list[int]]:
    """Runs of phrases that are asked and answered in the same words; a list has no others."""
    runs: list[list[int]] = []
    for index in members:
        if not runs or templates[runs[-1][0]] != templates[index]:
            runs.append([])
        runs[-1].append(index)
    return runs


def _build_list(members: list[int], phrases: list[str], template: PromptTemplate, tokenizer: GlammTokenizer) -> Prompt:
    """One question that lists phrases, and one answer with a `[SEG]` for each."""
    frame, listed = tokenizer.description, [phrases[index] for index in members]
    before, after = map(tokenizer.split, template.question.split(PHRASE_FIELD))
    start, item, end = _answer_parts(template, tokenizer)
    parts = [*_opening(frame), frame.after_image, *before, SEPARATOR.join(listed), *after, frame.assistant, *start]
    for number, phrase in enumerate(listed):
        parts += [SEPARATOR if number else "", phrase, *item]
    return _tokenised([*parts, *end, EOS], members, tokenizer)


def _tokenised(parts: list[str], members: list[int], tokenizer: GlammTokenizer) -> Prompt:
    ids = np.array(tokenizer.encode(_merge_text(parts)))
    return Prompt(
        input_ids=tuple(int(i) for i in ids),
        image_index=int(np.flatnonzero(ids == IMAGE_ID)[0]),
        seg_indices=tuple(int(i) for i in np.flatnonzero(ids == tokenizer.token_id(SEG))),
        phrase_indices=tuple(members),
        read_offset=tokenizer.description.read_offset,
    )


def _opening(frame: ModelDescription) -> list[str]:
    return [BOS, f"{frame.system} {frame.user}{frame.before_image}", IM_START, IMAGE, IM_END]


def _num_tokens(parts: list[str], tokenizer: GlammTokenizer) -> int:
    """Tokens of a round behind an image, and one. Encodes what `_build` does, so that the tokeniser remembers it."""
    return len(tokenizer.encode(_merge_text([IM_END, tokenizer.description.after_image, *parts])))


def _round_parts(phrase: str, template: PromptTemplate, tokenizer: GlammTokenizer) -> list[str]:
    """Question and answer in parts: added tokens of the template are tokens, the phrase is only ever text."""
    around = _around_phrase(template, tokenizer)
    parts = [*around[0]]
    for text in around[1:]:
        parts += [phrase, *text]
    return _merge_text(parts)


@lru_cache(64)
def _around_phrase(template: PromptTemplate, tokenizer: GlammTokenizer) -> tuple[list[str], ...]:
    """What stands before the phrase, after it and, where the answer repeats it, after that."""
    before, after = map(tokenizer.split, template.question.split(PHRASE_FIELD))
    answer = [tokenizer.split(text) for text in template.answer.split(PHRASE_FIELD)]
    return (
        before,
        [*after, tokenizer.description.assistant, *answer[0], *([EOS] if len(answer) == 1 else [])],
        *([*text, EOS] for text in answer[1:]),
    )


@lru_cache(64)
def _answer_parts(template: PromptTemplate, tokenizer: GlammTokenizer) -> tuple[list[str], list[str], list[str]]:
    """An answer in three: what begins it, what follows each phrase, ending with `[SEG]`, and what ends it.

    Raises:
        ValueError: if the answer does not repeat the phrase.
    """
    start, has_phrase, rest = template.answer.partition(PHRASE_FIELD)
    if not has_phrase:
        raise ValueError(f"answer: must hold {PHRASE_FIELD} where phrases are listed, not {template.answer!r}")
    item, seg, end = rest.partition(SEG_TOKEN)
    return tokenizer.split(start), tokenizer.split(item + seg), tokenizer.split(end)


def _merge_text(parts: list[str]) -> list[str]:
    """Joins neighbouring runs of text, so that each run is tokenised as a whole."""
    merged: list[str] = []
    for part in parts:
        if merged and not isinstance(part, Token) and not isinstance(merged[-1], Token):
            merged[-1] += part
        elif part:
            merged.append(part)
    return merged
