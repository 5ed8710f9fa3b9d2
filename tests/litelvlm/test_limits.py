"""What a number in a configuration may be."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from litelvlm.limits import check_divides, check_finite, check_int_at_least, check_sizes, shown


@dataclass
class Sizes:
    hidden_size: object = 8
    num_layers: object = 2
    image_size: object = 64
    vocab_size: object = 100
    heads: int = 4
    note: object = "x"


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None])
def test_what_is_no_integer_of_at_least_one_is_named_with_its_value(value: object) -> None:
    with pytest.raises(ValueError, match=r"^width: must be an integer of at least 1, not ") as caught:
        check_int_at_least("width", value, 1)
    assert str(caught.value).endswith(repr(value))
    check_int_at_least("width", 1, 1)


@pytest.mark.parametrize(
    ("field", "largest"),
    [("hidden_size", 2**18), ("num_layers", 512), ("image_size", 8192), ("vocab_size", 2**24)],
)
def test_the_largest_size_is_accepted_and_one_more_is_not(field: str, largest: int) -> None:
    check_sizes("sam", Sizes(**{field: largest}), ("note",))
    with pytest.raises(ValueError, match=rf"^sam\.{field}: is {largest + 1}; no model has more than {largest}$"):
        check_sizes("sam", Sizes(**{field: largest + 1}), ("note",))


def test_a_field_that_is_no_size_is_left_alone_only_where_it_is_named() -> None:
    with pytest.raises(ValueError, match=r"^sam\.note: "):
        check_sizes("sam", Sizes(), ())


def test_a_width_is_a_multiple_of_its_heads() -> None:
    check_divides("sam", Sizes(), ("hidden_size", "heads"))
    with pytest.raises(ValueError, match=r"^sam\.hidden_size: must be a multiple of heads$"):
        check_divides("sam", Sizes(hidden_size=9), ("hidden_size", "heads"))


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400, "1", True, None])
def test_what_no_float_holds_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^eps: must be a finite number, not "):
        check_finite("eps", value)


def test_zero_is_finite_but_not_positive() -> None:
    check_finite("eps", 0)
    check_finite("eps", 1e-300, positive=True)
    with pytest.raises(ValueError, match=r"^eps: must be a positive number, not 0$"):
        check_finite("eps", 0, positive=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("llm.norm", "llm.norm"), ("\x1b[31m", "'\\x1b[31m'"), ("x" * 300, "x" * 200), ("ünï", "ünï")],
)
def test_names_from_files_cannot_steer_a_terminal(name: str, expected: str) -> None:
    assert shown(name) == expected
