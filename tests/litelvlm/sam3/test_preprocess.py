"""SAM 3's pixels and token ids: the processor's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litelvlm.sam3.preprocess import Sam3Preprocessor


@pytest.fixture(scope="module")
def preprocessor(sam3_tiny: Path) -> Sam3Preprocessor:
    return Sam3Preprocessor(sam3_tiny)


@pytest.mark.parametrize("size_hw", [(50, 70), (333, 201), (64, 64), (2, 300)])
def test_pixels_and_ids_are_those_of_the_processor(
    sam3_tiny: Path, preprocessor: Sam3Preprocessor, size_hw: tuple[int, int]
) -> None:
    from transformers import Sam3Processor

    processor = Sam3Processor.from_pretrained(sam3_tiny, local_files_only=True)
    rgb = np.random.default_rng(size_hw[0]).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    wanted = processor(images=rgb, text=["the red circle", "x"], return_tensors="np")
    prepared = preprocessor.prepare(rgb)
    assert prepared.original_size_hw == size_hw
    pixels = np.rint((np.asarray(wanted["pixel_values"][0]).transpose(1, 2, 0) * 0.5 + 0.5) * 255)
    np.testing.assert_array_equal(prepared.pixels, pixels.astype(np.uint8))
    ids, attention = preprocessor.tokenize(["the red circle", "x"])
    np.testing.assert_array_equal(ids, wanted["input_ids"])
    np.testing.assert_array_equal(attention, wanted["attention_mask"])


def test_a_smaller_decoding_keeps_the_original_size(sam3_tiny: Path, preprocessor: Sam3Preprocessor) -> None:
    assert preprocessor.needed_size((4000, 3000)) is None
    assert Sam3Preprocessor(sam3_tiny, "fast").needed_size((4000, 3000)) == (64, 64)
    prepared = preprocessor.prepare(np.zeros((100, 75, 3), np.uint8), (4000, 3000))
    assert (prepared.original_size_hw, prepared.pixels.shape) == ((4000, 3000), (64, 64, 3))


def test_phrases_are_normalised_and_too_long_ones_refused(preprocessor: Sam3Preprocessor) -> None:
    assert preprocessor.check_phrase("  A red\ncircle ") == "a red circle"
    assert preprocessor.check_phrase("NASA", lower_case=False) == "NASA"
    assert preprocessor.check_phrase("1 " * 30) == ("1 " * 30).strip()
    with pytest.raises(ValueError, match=r"^phrase has 33 tokens with its start and end; SAM 3 takes 32$"):
        preprocessor.check_phrase("1 " * 31)
    with pytest.raises(ValueError, match=r"^phrase is empty$"):
        preprocessor.check_phrase(" ")


def test_other_arrays_are_refused(preprocessor: Sam3Preprocessor) -> None:
    with pytest.raises(ValueError, match=r"^image: must be an HxWx3 uint8 array"):
        preprocessor.prepare(np.zeros((5, 5), np.uint8))


def test_a_tokeniser_that_is_none_is_refused_in_one_line(sam3_tiny: Path, tmp_path: Path) -> None:
    for name in ("config.json", "processor_config.json"):
        (tmp_path / name).write_bytes((sam3_tiny / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=r"^model: the tokeniser in .* cannot be read: .+") as caught:
        Sam3Preprocessor(tmp_path)
    assert "\n" not in str(caught.value)
