"""Names of formulations, as people write them."""

from __future__ import annotations

import pytest

from litelvlm.formulation import CLIP_KINDS, LLAMA_KINDS, SAM_KINDS, Formulation, parse_formulation


@pytest.mark.parametrize("sam", SAM_KINDS)
@pytest.mark.parametrize("llama", LLAMA_KINDS)
@pytest.mark.parametrize("clip", CLIP_KINDS)
def test_what_is_said_is_read_again(sam: str, llama: str, clip: str) -> None:
    said = str(Formulation(sam=sam, llama=llama, clip=clip))
    assert said == f"sam={sam},llama={llama},clip={clip}"
    assert Formulation(**parse_formulation(said)) == Formulation(sam=sam, llama=llama, clip=clip)


def test_a_part_may_be_left_open() -> None:
    assert parse_formulation("auto") == {}
    assert parse_formulation("llama=stretches") == {"llama": "stretches"}
    assert parse_formulation(" llama=padded, sam=folded+compiled") == {"llama": "padded", "sam": "folded+compiled"}


@pytest.mark.parametrize("text", ["", "kernels", "sam", "lm=plain", "sam=plain,sam=folded", "sam=plain,"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^formulation: takes auto or sam=KIND,llama=KIND,clip=KIND, not"):
        parse_formulation(text)


def test_an_unknown_kind_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="llama='fast' is not known; choose one of padded, stretches, kernels, compiled"
    ):
        parse_formulation("llama=fast")
