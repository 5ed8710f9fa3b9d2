"""Classes: parsed or refused, phrases mapped."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from litelvlm.pipeline.config import InputConfig
from litelvlm.pipeline.ontology import Ontology, normalised, parse_ontology, read_ontology

TEXT = """
default: thing
categories:
- {id: 7, name: dog, supercategory: animal, prompts: [a dog, puppy], negative_prompts: [toy dog], score_threshold: 0.3}
- name: traffic light
- thing
- {name: toy, prompts: [toy dog, doll], negative_prompts: [shadow]}
"""


@pytest.fixture
def ontology() -> Ontology:
    return parse_ontology(yaml.safe_load(TEXT))


def test_a_file_says_what_is_asked_of_every_image_and_each_once(ontology: Ontology) -> None:
    asked = [(one.phrase, one.category.name, one.is_negative, sorted(one.excludes)) for one in ontology.asked]
    assert asked == [
        ("a dog", "dog", False, []),
        ("puppy", "dog", False, []),
        ("traffic light", "traffic light", False, []),
        ("thing", "thing", False, []),
        ("toy dog", "toy", False, [7]),  # what a toy is, and what a dog is not
        ("doll", "toy", False, []),
        ("shadow", "toy", True, [4]),
    ]
    assert ontology.prompts == tuple(one[0] for one in asked)
    assert [one.as_coco() for one in ontology.categories][:2] == [
        {"id": 7, "name": "dog", "supercategory": "animal"},
        {"id": 2, "name": "traffic light", "supercategory": ""},
    ]


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("puppy", "dog"),
        ("A Dog!", "dog"),
        ("the  traffic-light", "traffic light"),
        ("Traffic_Light", "traffic light"),
        ("dog", "dog"),
        ("Toy Dog", "toy"),
        ("toy", "toy"),
        ("zebra", "thing"),
        ("a", "thing"),
    ],
)
def test_phrases_are_mapped_by_letters_then_by_words(ontology: Ontology, phrase: str, name: str) -> None:
    found = ontology.find(phrase)
    assert found is not None
    assert (found.category.name, found.is_negative) == (name, False)


def test_a_negative_prompt_in_a_table_stays_one(ontology: Ontology) -> None:
    found = ontology.find("The shadow")
    assert found is not None
    assert (found.is_negative, set(found.excludes)) == (True, {4})


def test_without_a_default_a_strange_phrase_is_none_of_the_classes() -> None:
    assert parse_ontology(["dog"]).find("zebra") is None
    assert normalised("  The Café—Table ") == "café table"
    assert (normalised("हिन्दी"), normalised("🐕!"), normalised("??")) == ("हिन्दी", "🐕", "??")


def test_it_is_read_from_a_file_from_values_and_back(tmp_path: Path, ontology: Ontology) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert read_ontology(str(path)) == read_ontology(ontology) == ontology
    assert read_ontology(yaml.safe_load(TEXT)) == ontology
    assert read_ontology(dataclasses.asdict(ontology)) == ontology
    assert read_ontology(None) is None
    sent = pickle.loads(pickle.dumps(ontology))
    assert (sent, sent.asked) == (ontology, ontology.asked)


def test_it_is_a_setting(tmp_path: Path, ontology: Ontology) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert InputConfig.from_flat({"input": "x", "ontology": str(path)}).ontology == ontology
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^--ontology is '.*classes\.yaml'; `categories` must list 1 to 1000 class"):
        InputConfig.from_flat({"input": "x", "ontology": str(path)})


def test_it_is_told_from_another_in_a_line(ontology: Ontology) -> None:
    assert ontology.describe().startswith("4 classes with 7 prompts (")
    assert ontology.describe() != dataclasses.replace(ontology, same_object_iou=0.9).describe()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("x", "must be a mapping with `categories`"),
        ({"categories": []}, "`categories` must list 1 to"),
        ([7], "class 1 must be a name or a mapping"),
        ([{"id": 1}], "class 1 must have a name"),
        ([{"name": True}], "in YAML, quote numbers and yes and no"),
        ([{"name": "a\nb"}], "must have a name of a line"),
        ([{"name": "a", "id": 0}], "class 'a': id must be a positive whole number, not 0"),
        ([{"name": "a", "id": "7"}], "id must be a positive whole number"),
        ([{"name": "a", "id": True}], "id must be a positive whole number"),
        ([{"name": "a", "score_threshold": 2}], "score_threshold must be 0 to 1, not 2"),
        ([{"name": "a", "supercategory": 2}], "supercategory must be text, not 2"),
        ([{"name": "a", "prompts": []}], "prompts must be texts"),
        ([{"name": "a", "prompts": [1]}], "prompts must be texts"),
        ([{"name": "a", "prompts": [str(n) for n in range(101)]}], "prompts must be texts, 100 at most"),
        ([{"name": "a", "promts": ["b"]}], "class 1: 'promts' is no key; there are id, name, "),
        (["a", "a"], "two classes have the name 'a'"),
        ([{"name": "a", "id": 2}, "b"], "two classes have the id 2"),
        ([{"name": "a", "prompts": ["x"]}, {"name": "b", "prompts": ["the X"]}], "'the X' is a prompt of 'a' and of"),
        ([{"name": "a", "negative_prompts": "An A"}], "class 'a': 'An A' is a prompt and a negative prompt"),
        ({"categories": ["a"], "default": "b"}, "default: 'b' is none of the classes"),
        ({"categories": ["a"], "same_object_iou": 0}, "same_object_iou must be above 0"),
        ({"categories": ["a"], "iou": 0}, "the ontology: 'iou' is no key"),
        ({"categories": [str(n) for n in range(1001)]}, "must list 1 to 1000 classes"),
        (
            [{"name": f"a{n}", "prompts": [f"{n} of {m}" for m in range(100)]} for n in range(101)],
            "10100 prompts an image are more than 10000",
        ),
    ],
)
def test_what_is_wrong_with_it_is_told(values: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_ontology(values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"categories: &x [a]\ndefault: *x", "YAML anchors"),
        (b"categories: [", "is not valid YAML"),
        (b"[" * 100_000, "is not valid YAML"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"x" * (1 << 20) + b": 1", "is longer than"),
        (b"categories: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "classes.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_ontology(str(path))
    with pytest.raises(ValueError, match="is read from this machine"):
        read_ontology("s3://bucket/classes.yaml")
