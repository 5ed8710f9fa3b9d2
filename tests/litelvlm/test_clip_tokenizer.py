"""CLIP's tokeniser: what it remembers, and lists of merges that do not belong to the text tower."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch

from litelvlm import Annotator
from litelvlm.clip_tokenizer import (
    MAX_CACHED_WORDS,
    MAX_MERGES_BYTES,
    check_merges,
    cut_texts,
    load_clip_tokenizer,
    text_lengths,
)
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


def test_clip_merges_that_lead_outside_the_table_are_refused(tmp_path: Path) -> None:
    clip = Path(shutil.copytree(CLIP_TINY, tmp_path / "clip"))
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["vocab_size"] = 600
    (clip / "config.json").write_text(json.dumps(config))
    merges = clip / "merges.txt"
    merges.write_text("#version: 0.2" + "\na b" * 87)
    with pytest.raises(ValueError, match=r"merges\.txt: makes 601 token ids"):
        Annotator.from_pretrained(GLAMM_TINY, clip=clip)
    merges.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="BPE merges"):
        Annotator.from_pretrained(GLAMM_TINY, clip=clip)


@pytest.mark.slow
def test_clip_words_are_not_remembered_for_ever() -> None:
    tokenizer = load_clip_tokenizer(None, 77)
    expected = tokenizer("a red box")
    for start in range(0, 3 * MAX_CACHED_WORDS, 1000):
        tokenizer(" ".join(f"w{chr(97 + i % 26) * 3}{chr(97 + i // 26 % 26)}x{start}" for i in range(1000)))
        tokenizer.cache |= {f"word{start + i}": "" for i in range(1000)}
    assert len(tokenizer.cache) <= MAX_CACHED_WORDS + 2_000
    assert torch.equal(tokenizer("a red box"), expected)


def test_without_merges_it_is_openais() -> None:
    texts = ["a photo of a cat", "UPPER  spaces", "ünïcödé 猫", ""]
    assert torch.equal(load_clip_tokenizer(None, 77)(texts), open_clip.get_tokenizer("ViT-L-14-336")(texts))


def test_long_texts_are_cut_and_still_end() -> None:
    tokens = load_clip_tokenizer(None, 8)("one two three four five six seven eight nine")[0]
    assert tokens.shape == (8,)
    assert (tokens[0], tokens[-1]) == (49406, 49407)


def test_a_merge_makes_one_token_of_two(tmp_path: Path) -> None:
    merges = tmp_path / "merges.txt"
    merges.write_text("#version: 0.2\na b</w>\n")
    tokens = load_clip_tokenizer(merges, 8)("ab")[0].tolist()
    assert tokens == [513, 512, 514, 0, 0, 0, 0, 0]  # after 512 bytes: the merge, the start, the end


def test_exactly_as_many_ids_as_rows_are_accepted(tmp_path: Path) -> None:
    merges = tmp_path / "merges.txt"
    merges.write_text("#version: 0.2\na b\n")
    check_merges(merges, 515)
    with pytest.raises(ValueError, match="makes 515 token ids, the text tower knows 514"):
        check_merges(merges, 514)


def test_merges_of_absurd_size_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "merges.txt").open("wb") as file:
        file.truncate(MAX_MERGES_BYTES + 1)
    with pytest.raises(ValueError, match="is larger than 16777216 bytes"):
        check_merges(tmp_path / "merges.txt", 10**6)


def test_texts_are_cut_behind_the_longest() -> None:
    tokenizer = load_clip_tokenizer(None, 77)
    tokens = tokenizer(["!", "a red box!!! !", "word " * 200])
    assert text_lengths(tokens).tolist() == [3, 7, 77]
    assert cut_texts(tokens).shape == (3, 77)
    assert torch.equal(cut_texts(tokens[:2]), tokens[:2, :8])
    assert torch.equal(cut_texts(tokenizer(["a " * 7])), tokenizer(["a " * 7])[:, :16])


@torch.inference_mode()
def test_a_cut_text_is_embedded_as_it_was(demo_annotator: Annotator) -> None:
    encoder, tokenizer = demo_annotator.model.clip, demo_annotator.clip_tokenizer
    tokens = tokenizer(["!", "the red circle!", "the small blue square left of the star"])
    expected = encoder.clip.encode_text(tokens)
    for given in (tokens, cut_texts(tokens)):
        torch.testing.assert_close(encoder.encode_texts(given), expected, rtol=1e-5, atol=1e-5)
