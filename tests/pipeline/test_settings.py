"""A setting is declared once; from that, values are coerced, refused and explained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Ge

from litelvlm.pipeline.settings import Flag, Part, Settings, check_known, declared, flat, guess


@dataclass(frozen=True, kw_only=True)
class Oven(Settings):
    section = "oven"

    degrees: Annotated[int, Flag("how hot"), Ge(50)] = 180
    fan: Annotated[bool, Flag("blow")] = False
    time_s: Annotated[float | None, Flag("how long", word="auto", option="--for")] = None


@dataclass(frozen=True, kw_only=True)
class Meal(Settings):
    section = "meal"

    dish: Annotated[str, Flag("what to cook", choices=("soup", "bread"))]
    spices: Annotated[tuple[str, ...], Flag("what is added")] = ()
    pin: Annotated[int, Flag("of the kitchen", secret=True)] = 0
    oven: Annotated[Oven, Part(without=("fan",), defaults=(("degrees", 200),))] = field(default_factory=Oven)


def test_a_flat_mapping_reaches_every_part_with_the_parts_own_defaults() -> None:
    meal = Meal.from_flat({"dish": "bread", "spices": "salt, thyme ,", "time_s": "1e3", "pin": None})
    assert meal == Meal(dish="bread", spices=("salt", "thyme"), oven=Oven(degrees=200, time_s=1000.0))
    assert Meal.from_flat({"dish": "soup", "degrees": "220", "time_s": "auto"}).oven == Oven(degrees=220)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"--dish is missing: what to cook"),
        ({"dish": ""}, r"--dish is missing: what to cook"),
        ({"dish": "bred"}, r"--dish is 'bred'; choose from soup, bread; did you mean bread\?"),
        ({"dish": "soup", "degrees": 20}, r"--degrees is 20; it must be greater than or equal to 50"),
        ({"dish": "soup", "degrees": True}, r"--degrees is True; it must be a whole number"),
        ({"dish": "soup", "time_s": "soon"}, r"--for is soon; it must be a number"),
        ({"dish": "soup", "fan": True}, r"unknown setting fan"),
        ({"dish": "soup", "degree": 1}, r"unknown setting degree; did you mean degrees\?"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_flag_with_the_way_out(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Meal.from_flat(values)


def test_a_secret_is_in_no_message() -> None:
    with pytest.raises(ValueError, match="--pin: ") as caught:
        Meal.from_flat({"dish": "soup", "pin": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_limits_hold_in_a_constructor_too_and_values_get_their_type() -> None:
    assert Oven(degrees="90", fan="yes").fan is True
    assert type(Oven(time_s=3).time_s) is float
    with pytest.raises(ValueError, match="--degrees is 0"):
        Oven(degrees=0)


def test_settings_describe_themselves() -> None:
    keys = [(one.key, one.option, one.group, one.default_in_words) for one in flat(Meal)]
    assert keys == [
        ("degrees", "--degrees", "oven", "200"),
        ("time_s", "--for", "oven", "auto"),
        ("dish", "--dish", "meal", "required"),
        ("spices", "--spices", "meal", "none"),
        ("pin", "--pin", "meal", "0"),
    ]
    assert [one.key for one in declared(Oven)] == ["degrees", "fan", "time_s"]
    assert declared(Oven)[1].default_in_words == "false"


def test_the_nearest_known_word_is_guessed_or_all_are_named() -> None:
    assert guess("bred", ["bread", "soup"]) == "; did you mean bread?"
    assert guess("xylophone", ["bread", "soup"]) == ""
    with pytest.raises(ValueError, match="unknown setting xylophone; known ones: bread, soup"):
        check_known(["soup", "xylophone"], ["soup", "bread"])
    check_known(["soup"], ["soup", "bread"])
