"""A team's own classes: what is asked for each, and which class a phrase is of.

A class has prompts, several if one word does not find it, and negative prompts for what is taken for it. Which of the
answers then stand is decided by `pipeline.stages.suppress`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from litelvlm.pipeline.plain_yaml import load_plain_yaml

MAX_BYTES = 1 << 20
MAX_CATEGORIES = 1_000
MAX_PROMPTS = 100  # of a class, and as many negative ones
MAX_ASKED = 10_000  # of an image
SAME_OBJECT_IOU = 0.8

_KEYS = {"categories", "default", "same_object_iou"}
_CATEGORY_KEYS = {"id", "name", "supercategory", "prompts", "negative_prompts", "score_threshold"}
_ARTICLES = re.compile(r"^(a|an|the|some|any)\s+")
_QUOTE = "in YAML, quote numbers and yes and no"


@dataclass(frozen=True, kw_only=True)
class Category:
    """A class.

    Attributes:
        id: positive, as in the COCO files.
        prompts: what is asked; the name where nothing else is given.
        negative_prompts: asked as well, for what is to be left out.
        score_threshold: answers below it do not stand.
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


#: What everything is of where there is no ontology.
OBJECT = Category(id=1, name="object")


@dataclass(frozen=True, kw_only=True)
class ClassPrompt:
    """What a phrase asks for.

    Attributes:
        is_negative: it finds nothing of its class, but what the class is not.
        excludes: ids of the classes that are not what it finds.
    """

    phrase: str
    category: Category
    is_negative: bool = False
    excludes: frozenset[int] = frozenset()


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

    @cached_property
    def asked(self) -> tuple[ClassPrompt, ...]:
        """What every image is asked, each once: the prompts of the classes in their order, then the negative ones that
        are not among them."""
        excludes: dict[str, set[int]] = {}
        for category, phrase in self._pairs("negative_prompts"):
            excludes.setdefault(phrase, set()).add(category.id)
        found: dict[str, ClassPrompt] = {}
        for attribute in ("prompts", "negative_prompts"):
            for category, phrase in self._pairs(attribute):
                asked = ClassPrompt(
                    phrase=phrase,
                    category=category,
                    is_negative=attribute != "prompts",
                    excludes=frozenset(excludes.get(phrase, ())),
                )
                found.setdefault(phrase, asked)
        return tuple(found.values())

    @property
    def prompts(self) -> tuple[str, ...]:
        """The phrases of `asked`."""
        return tuple(one.phrase for one in self.asked)

    def find(self, phrase: str) -> ClassPrompt | None:
        """What a phrase asks for: by its letters, else by its words, else of the default class; None without one."""
        found = self._by_letters.get(phrase) or self._by_words.get(normalised(phrase))
        if found is not None or self.default is None:
            return found
        return next(ClassPrompt(phrase=phrase, category=one) for one in self.categories if one.name == self.default)

    def describe(self) -> str:
        """A line for people, and for telling one from another."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{len(self.categories)} classes with {len(self.asked)} prompts ({digest})"

    @cached_property
    def _by_letters(self) -> dict[str, ClassPrompt]:
        return {one.phrase: one for one in self.asked}

    @cached_property
    def _by_words(self) -> dict[str, ClassPrompt]:
        found: dict[str, ClassPrompt] = {}
        for one in self.asked:
            found.setdefault(normalised(one.phrase), one)
        for category in self.categories:
            found.setdefault(normalised(category.name), ClassPrompt(phrase=category.name, category=category))
        return found

    def _pairs(self, attribute: str) -> Iterator[tuple[Category, str]]:
        return ((category, phrase) for category in self.categories for phrase in getattr(category, attribute))


def normalised(phrase: str) -> str:
    """The words of a phrase: case, punctuation, underscores, width of letters and a leading article do not count."""
    text = unicodedata.normalize("NFKC", phrase).casefold()
    words = "".join(char if unicodedata.category(char)[0] in "LMNS" else " " for char in text).split()
    text = " ".join(words) or text  # nothing but punctuation stays itself
    return _ARTICLES.sub("", text)


def read_ontology(given: Any) -> Any:
    """An ontology from the path of a YAML file, or from what such a file holds. Raises ValueError naming what is wrong.

    None and an ontology stay what they are.
    """
    if given is None or isinstance(given, Ontology):
        return given
    return parse_ontology(_load(given) if isinstance(given, str) else given)


def parse_ontology(values: Any) -> Ontology:
    """An ontology from plain values. Raises ValueError naming the class and what is wrong with it."""
    if isinstance(values, list | tuple):
        values = {"categories": values}
    if not isinstance(values, Mapping):
        raise ValueError("it must be a mapping with `categories`, or a list of classes")
    _check_keys(values, _KEYS, "the ontology")
    entries = values.get("categories")
    if not isinstance(entries, list | tuple) or not 1 <= len(entries) <= MAX_CATEGORIES:
        raise ValueError(f"`categories` must list 1 to {MAX_CATEGORIES} classes")
    categories = tuple(_category(entry, number) for number, entry in enumerate(entries, start=1))
    _check_unique("id", [one.id for one in categories])
    _check_unique("name", [one.name for one in categories])
    _check_prompts(categories)
    default = values.get("default")
    if default is not None and default not in [one.name for one in categories]:
        raise ValueError(f"default: {default!r} is none of the classes")
    iou = values.get("same_object_iou", SAME_OBJECT_IOU)
    if not _is_number(iou) or not 0 < iou <= 1:
        raise ValueError(f"same_object_iou must be above 0 and at most 1, not {iou!r}")
    ontology = Ontology(categories=categories, default=default, same_object_iou=float(iou))
    if len(ontology.asked) > MAX_ASKED:
        raise ValueError(f"{len(ontology.asked)} prompts an image are more than {MAX_ASKED}")
    return ontology


def _category(entry: Any, number: int) -> Category:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"class {number} must be a name or a mapping, not {str(entry)[:100]!r} ({_QUOTE})")
    _check_keys(entry, _CATEGORY_KEYS, f"class {number}")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"class {number} must have a name of a line ({_QUOTE})")
    name = name.strip()
    identity, threshold = entry.get("id", number), entry.get("score_threshold", 0.0)
    if isinstance(identity, bool) or not isinstance(identity, int) or not 0 < identity < 2**31:
        raise ValueError(f"class {name!r}: id must be a positive whole number, not {identity!r}")
    if not _is_number(threshold) or not 0 <= threshold <= 1:
        raise ValueError(f"class {name!r}: score_threshold must be 0 to 1, not {threshold!r}")
    supercategory = entry.get("supercategory") or ""
    if not isinstance(supercategory, str):
        raise ValueError(f"class {name!r}: supercategory must be text, not {supercategory!r}")
    return Category(
        id=identity,
        name=name,
        supercategory=supercategory,
        prompts=_phrases(entry.get("prompts", [name]), f"class {name!r}: prompts"),
        negative_prompts=_phrases(
            entry.get("negative_prompts") or (), f"class {name!r}: negative_prompts", may_be_none=True
        ),
        score_threshold=float(threshold),
    )


def _phrases(value: Any, place: str, *, may_be_none: bool = False) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    is_list = isinstance(items, list | tuple) and all(isinstance(one, str) and one.strip() for one in items)
    if not is_list or len(items) > MAX_PROMPTS or not (items or may_be_none):
        raise ValueError(f"{place} must be texts, {MAX_PROMPTS} at most ({_QUOTE})")
    return tuple(dict.fromkeys(one.strip() for one in items))


def _check_prompts(categories: Sequence[Category]) -> None:
    owners: dict[str, str] = {}
    for category in categories:
        for phrase in category.prompts:
            owner = owners.setdefault(normalised(phrase), category.name)
            if owner != category.name:
                raise ValueError(f"{phrase!r} is a prompt of {owner!r} and of {category.name!r}")
        words = {normalised(phrase) for phrase in category.prompts}
        both = next((phrase for phrase in category.negative_prompts if normalised(phrase) in words), None)
        if both is not None:
            raise ValueError(f"class {category.name!r}: {both!r} is a prompt and a negative prompt")


def _check_unique(what: str, found: list[Any]) -> None:
    twice = next((one for number, one in enumerate(found) if one in found[:number]), None)
    if twice is not None:
        raise ValueError(f"two classes have the {what} {twice!r}")


def _check_keys(values: Mapping[Any, Any], known: set[str], place: str) -> None:
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        raise ValueError(f"{place}: {str(unknown)[:100]!r} is no key; there are {', '.join(sorted(known))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _load(path: str) -> Any:
    """The plain values of a file, of which no anchor may make many."""
    if "://" in path:
        raise ValueError("it is read from this machine; copy it beside the job, or write it into --config")
    try:
        with open(os.path.expanduser(path), "rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return load_plain_yaml(text)
