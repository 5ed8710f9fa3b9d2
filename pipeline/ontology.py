"""A team's own classes: what is asked for each, which class a phrase is of, and which of the answers stand.

A class has prompts, several if one word does not find it, and negative prompts for what is taken for it. Prompts of a
class that find the same object are one annotation; what a negative prompt covers is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask

MAX_BYTES = 1 << 20
MAX_CATEGORIES = 1_000
MAX_PROMPTS = 100  # of a class
SAME_OBJECT_IOU = 0.8  # of two prompts of one class
COVERED = 0.5  # of a mask's area, by the mask of a negative prompt

_KEYS = {"categories", "default", "same_object_iou"}
_CATEGORY_KEYS = {"id", "name", "supercategory", "prompts", "negative_prompts", "score_threshold"}
_ARTICLES = re.compile(r"^(a|an|the|some|any)\s+")


@dataclass(frozen=True, kw_only=True)
class Category:
    """A class.

    Attributes:
        id: positive, as in the COCO files.
        prompts: what is asked; the name where nothing else is given.
        negative_prompts: asked as well, for what is to be left out.
        score_threshold: masks below it do not stand.
    """

    id: int
    name: str
    supercategory: str = ""
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    score_threshold: float = 0.0

    def as_coco(self) -> dict[str, Any]:
        """An entry of COCO's `categories`."""
        return {"id": self.id, "name": self.name, "supercategory": self.supercategory}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt of an ontology, with its class, and whether it says what the class is not."""

    phrase: str
    category: Category
    is_negative: bool = False


@dataclass(frozen=True, kw_only=True)
class Ontology:
    """All classes of a run.

    Attributes:
        default: name of the class of phrases that are none of the others'; None where such a phrase fails.
        same_object_iou: from which on two masks of a class are one object.
    """

    categories: tuple[Category, ...]
    default: str | None = None
    same_object_iou: float = SAME_OBJECT_IOU
    _by_phrase: dict[str, Asked] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for asked in self.prompts():
            self._by_phrase.setdefault(asked.phrase, asked)
        for asked in list(self.prompts()):
            self._by_phrase.setdefault(normalised(asked.phrase), asked)
        for category in self.categories:
            self._by_phrase.setdefault(normalised(category.name), Asked(phrase=category.name, category=category))

    def prompts(self) -> Iterator[Asked]:
        """What every image is asked: the prompts of the classes in their order, each class's negative ones behind."""
        for category in self.categories:
            for phrase in category.prompts:
                yield Asked(phrase=phrase, category=category)
            for phrase in category.negative_prompts:
                yield Asked(phrase=phrase, category=category, is_negative=True)

    def find(self, phrase: str) -> Asked | None:
        """The class of a phrase: by its letters, else by its words, else the default one."""
        found = self._by_phrase.get(phrase) or self._by_phrase.get(normalised(phrase))
        if found is not None or self.default is None:
            return found
        return next(Asked(phrase=phrase, category=one) for one in self.categories if one.name == self.default)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The mask that a prompt got, and its score."""

    asked: Asked
    mask: EncodedMask
    score: float


def standing(answers: Sequence[Answer], ontology: Ontology) -> list[str | None]:
    """What becomes of the answers of one image, in their order: None for those that stand, else why one does not.

    In this order: negative prompts themselves; masks below their class's threshold; masks of which a negative prompt of
    the class covers more than it does not; of masks of a class that are one object all but the one with the best score,
    the earlier of equals.
    """
    fates: list[str | None] = [_first_fate(answer) for answer in answers]
    _leave_out_covered(answers, fates)
    order = sorted(range(len(answers)), key=lambda index: (-answers[index].score, index))
    kept: list[int] = []
    for index in order:
        if fates[index] is not None:
            continue
        rivals = [one for one in kept if answers[one].asked.category == answers[index].asked.category]
        overlaps = _ious(answers[index].mask, [answers[one].mask for one in rivals])
        best = max(range(len(rivals)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= ontology.same_object_iou:
            rival = answers[rivals[best]].asked.phrase
            fates[index] = f"duplicate: the object that {rival!r} found, IoU {overlaps[best]:.2f}"
        else:
            kept.append(index)
    return fates


def _first_fate(answer: Answer) -> str | None:
    if answer.asked.is_negative:
        return f"negative: asked for what {answer.asked.category.name} is not"
    threshold = answer.asked.category.score_threshold
    return f"score: {answer.score:.3f} is below {threshold:g}" if answer.score < threshold else None


def _leave_out_covered(answers: Sequence[Answer], fates: list[str | None]) -> None:
    for negative in (one for one in answers if one.asked.is_negative):
        for index, answer in enumerate(answers):
            if fates[index] is not None or answer.asked.category != negative.asked.category:
                continue
            share = _covered(answer.mask, negative.mask)
            if share > COVERED:
                fates[index] = f"covered: {negative.asked.phrase!r} covers {share:.0%} of it"


def _ious(mask: EncodedMask, others: Sequence[EncodedMask]) -> list[float]:
    if not others:
        return []
    found: list[float] = coco_mask.iou([_rle(mask)], [_rle(other) for other in others], [0] * len(others))[0].tolist()
    return found


def _covered(mask: EncodedMask, cover: EncodedMask) -> float:
    """Share of a mask's area below another."""
    both = coco_mask.area(coco_mask.merge([_rle(mask), _rle(cover)], intersect=True))
    return float(both) / max(mask.area, 1)


def _rle(mask: EncodedMask) -> dict[str, Any]:
    return {"size": list(mask.size_hw), "counts": mask.counts.encode("ascii")}


def normalised(phrase: str) -> str:
    """The words of a phrase: case, accents' spelling, punctuation, underscores and a leading article do not count."""
    text = unicodedata.normalize("NFKC", phrase).casefold().replace("_", " ").replace("-", " ")
    text = " ".join("".join(char if char.isalnum() or char.isspace() else " " for char in text).split())
    return _ARTICLES.sub("", text)


def parse_ontology(text: str, name: str) -> Ontology:
    """An ontology from YAML. Raises ValueError naming the file, the entry and what is wrong with it."""
    values = _plain_yaml(text, name)
    _check_keys(values, _KEYS, name)
    entries = values.get("categories")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CATEGORIES:
        raise ValueError(f"{name}: `categories` must list 1 to {MAX_CATEGORIES} classes")
    categories = tuple(_category(entry, number, name) for number, entry in enumerate(entries, start=1))
    for what, found in (("id", [one.id for one in categories]), ("name", [one.name for one in categories])):
        twice = next((one for one in found if found.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"{name}: two classes have the {what} {twice!r}")
    _check_prompts(categories, name)
    default = values.get("default")
    if default is not None and default not in [one.name for one in categories]:
        raise ValueError(f"{name}: default: {default!r} is none of the classes")
    iou = values.get("same_object_iou", SAME_OBJECT_IOU)
    if not _is_number(iou) or not 0 < iou <= 1:
        raise ValueError(f"{name}: same_object_iou must be above 0 and at most 1, got {iou!r}")
    return Ontology(categories=categories, default=default, same_object_iou=float(iou))


def _category(entry: Any, number: int, name: str) -> Category:
    place = f"{name}: class {number}"
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: must be a name or a mapping, got {str(entry)[:100]!r}")
    _check_keys(entry, _CATEGORY_KEYS, place)
    title = entry.get("name")
    if not isinstance(title, str) or not title.strip():
        raise ValueError(f"{place}: must have a name (in YAML, quote numbers and yes and no)")
    place = f"{name}: class {title!r}"
    identity, threshold = entry.get("id", number), entry.get("score_threshold", 0.0)
    if isinstance(identity, bool) or not isinstance(identity, int) or not 0 < identity < 2**31:
        raise ValueError(f"{place}: id must be a positive whole number, got {identity!r}")
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        raise ValueError(f"{place}: score_threshold must be 0 to 1, got {threshold!r}")
    supercategory = entry.get("supercategory", "")
    if not isinstance(supercategory, str):
        raise ValueError(f"{place}: supercategory must be text, got {supercategory!r}")
    return Category(
        id=identity,
        name=title.strip(),
        supercategory=supercategory,
        prompts=_phrases(entry.get("prompts", [title]), f"{place}: prompts"),
        negative_prompts=_phrases(entry.get("negative_prompts", []), f"{place}: negative_prompts", may_be_none=True),
        score_threshold=float(threshold),
    )


def _phrases(value: Any, place: str, *, may_be_none: bool = False) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    is_list = isinstance(items, list) and all(isinstance(one, str) and one.strip() for one in items)
    if not is_list or len(items) > MAX_PROMPTS or not (items or may_be_none):
        raise ValueError(f"{place}: must be texts, {MAX_PROMPTS} at most (in YAML, quote numbers and yes and no)")
    return tuple(dict.fromkeys(one.strip() for one in items))


def _check_prompts(categories: Sequence[Category], name: str) -> None:
    owners: dict[str, str] = {}
    for category in categories:
        for phrase in category.prompts:
            owner = owners.setdefault(normalised(phrase), category.name)
            if owner != category.name:
                raise ValueError(f"{name}: {phrase!r} is a prompt of {owner!r} and of {category.name!r}")


def _check_keys(values: dict[Any, Any], known: set[str], place: str) -> None:
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        raise ValueError(f"{place}: {unknown!r} is no setting; there are {', '.join(sorted(known))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain_yaml(text: str, name: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise ValueError(f"{name}: is longer than {MAX_BYTES} characters")
    try:
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError(f"{name}: holds YAML anchors, which are not read")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{name} is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{name}: must be a mapping with `categories`")
    return values
