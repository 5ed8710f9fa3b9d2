"""The demo's tokeniser: trained on its language, in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

from litelvlm.demo.corpus import TEMPLATES, train_tokenizer
from litelvlm.demo.rendering import SceneArrays
from litelvlm.models.glamm import GLAMM
from litelvlm.prompts import build_prompts
from litelvlm.tokenizer import GlammTokenizer


def test_a_trained_tokeniser_asks_everything(tmp_path: Path, scenes: SceneArrays) -> None:
    train_tokenizer(scenes, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["added_tokens.json", "tokenizer.model"]
    added = json.loads((tmp_path / "added_tokens.json").read_text())
    tokenizer = GlammTokenizer(tmp_path)
    first = tokenizer.vocab_size - len(GLAMM.added_tokens)
    assert added == {token: first + number for number, token in enumerate(GLAMM.added_tokens)}
    for template in TEMPLATES:
        [prompt] = build_prompts(["red star", "caf\u00e9"], template, tokenizer, layout="rounds", max_text_tokens=999)
        assert len(prompt.seg_indices) == 2
        assert max(prompt.input_ids) < tokenizer.vocab_size
    known, other = (len(tokenizer.encode([text])) for text in (" the small red star", " eht llams der rats"))
    assert known < other / 2  # its own language takes few tokens
