"""LLaMA's tokeniser: added tokens, the text between them, and files that are not GLaMM's."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm import Annotator
from litelvlm.tokenizer import BOS, IMAGE, IMAGE_ID, MAX_MODEL_BYTES, SEG, GlammTokenizer, Token
from tests.litelvlm.checkpoint_copies import LFS_POINTER
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


@pytest.fixture(scope="module")
def tokenizer() -> GlammTokenizer:
    return GlammTokenizer(GLAMM_TINY)


def test_spaces_around_added_tokens_are_stripped(tokenizer: GlammTokenizer) -> None:
    assert tokenizer.encode(["the ", Token("[SEG]"), " end"]) == tokenizer.encode(["the", Token("[SEG]"), "end"])
    assert tokenizer.encode(["the ", Token("</s>")]) != tokenizer.encode(["the", Token("</s>")])


def test_tokenizer_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.model"):
        GlammTokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(LFS_POINTER)
    with pytest.raises(ValueError, match=r"tokenizer\.model is a Git LFS pointer"):
        GlammTokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"not sentencepiece")
    with pytest.raises(ValueError, match="sentencepiece"):
        GlammTokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes((GLAMM_TINY / "tokenizer.model").read_bytes())
    (tmp_path / "added_tokens.json").write_text('{"<p>": 700}')
    with pytest.raises(ValueError, match="SEG"):
        GlammTokenizer(tmp_path)


@pytest.mark.parametrize(
    "tokens",
    ['{"": 5}', '{"[SEG]": true}', '{"[SEG]": -1}', '{"[SEG]": "7"}', "[" * 100_000, "[]", "\x00"],
)
def test_added_tokens_are_checked(glamm_copy: Path, tokens: str) -> None:
    (glamm_copy / "added_tokens.json").write_text(tokens)
    with pytest.raises(ValueError, match=r"added_tokens\.json"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


@pytest.mark.slow
def test_a_tokenizer_larger_than_the_vocabulary_is_refused(glamm_copy: Path) -> None:
    (glamm_copy / "added_tokens.json").write_text('{"<im_start>": 700, "<im_end>": 701, "[SEG]": 5000}')
    with pytest.raises(ValueError, match="tokeniser"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_a_text_is_split_at_its_tokens_and_what_looks_like_one_is_one(tokenizer: GlammTokenizer) -> None:
    parts = tokenizer.split("<s>It is [SEG].[SEG]")
    assert parts == ["<s>", "It is ", "[SEG]", ".", "[SEG]"]
    assert [isinstance(part, Token) for part in parts] == [True, False, True, False, True]


def test_text_that_looks_like_a_token_is_text(tokenizer: GlammTokenizer) -> None:
    seg = tokenizer.token_id(SEG)
    assert tokenizer.encode([SEG]) == [seg]
    assert seg not in tokenizer.encode(["[SEG]"])


def test_the_image_stands_for_its_visual_tokens(tokenizer: GlammTokenizer) -> None:
    ids = tokenizer.encode([BOS, IMAGE, "dog"])
    assert ids[:2] == [tokenizer.token_id(BOS), IMAGE_ID]
    assert ids[2:] == tokenizer.encode(["dog"])


def test_without_a_file_the_added_tokens_follow_the_vocabulary(tmp_path: Path, tokenizer: GlammTokenizer) -> None:
    (tmp_path / "tokenizer.model").write_bytes((GLAMM_TINY / "tokenizer.model").read_bytes())
    found = GlammTokenizer(tmp_path)
    ids = [
        found.token_id(Token(name)) for name in ("<im_start>", "<im_end>", "<bbox>", "<point>", "[SEG]", "<p>", "</p>")
    ]
    assert ids == list(range(ids[0], ids[0] + 7))
    assert found.vocab_size == ids[-1] + 1


def test_a_model_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.model").open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(ValueError, match="is larger than 67108864 bytes"):
        GlammTokenizer(tmp_path)
