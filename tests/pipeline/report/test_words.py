"""Numbers and reasons in words."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.report import words


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.seconds(0.0123), "12.3 ms"),
        (words.seconds(0.5), "0.5 s"),
        (words.seconds(99.6), "1 min 40 s"),
        (words.seconds(3 * 3600 + 12 * 60), "3 h 12 min"),
        (words.seconds(2 * 86400), "2 d"),
        (words.seconds(None), "–"),
        (words.seconds(float("nan")), "–"),
        (words.hours(7200), "2 h"),
        (words.hours(20), "20 s"),
        (words.money(0.00337), "0.00337"),
        (words.money(1234.5), "1,234.50"),
        (words.money(0), "0.00"),
        (words.percent(0.004), "0.4%"),
        (words.percent(0.05), "5%"),
        (words.percent(-0.05), "-5%"),
        (words.percent(0.996), "100%"),
        (words.short(999.6), "1k"),
        (words.short(90_288), "90.3k"),
        (words.short(0.25), "0.25"),
        (words.size(19_400_000), "19.4 MB"),
        (words.operations(0.509), "509 GFLOP"),
        (words.count(1_234_567), "1,234,567"),
        (words.times(None), "–"),
    ],
)
def test_numbers_are_short(shown: str, expected: str) -> None:
    assert shown == expected


def test_bytes_in_a_reason_do_not_tell_reasons_apart() -> None:
    assert words.pattern("not_an_image: starts with 22 3e 3c 69") == "not_an_image: starts with …"
    assert words.pattern("phrase: empty") == "phrase: empty"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.moment(0), "1970-01-01 00:00 UTC"),
        (words.moment(1_800_000_000.9), "2027-01-15 08:00 UTC"),
        (words.moment(None), "–"),
        (words.clipped("abcde", 5), "abcde"),
        (words.clipped("abcdef", 5), "abcd…"),
        (words.score(0.95249), "0.952"),
        (words.score(float("inf")), "–"),
    ],
)
def test_times_and_texts_are_short(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_reason_is_cut() -> None:
    assert words.pattern("word " * 100) == ("word " * 100)[:200]
