"""Ids of added tokens, whichever file tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.added_tokens import added_tokens, token_files

IDS = {"<im_patch>": 700, "<im_start>": 701, "<im_end>": 702, "[SEG]": 703}
USUAL = ("[SEG]", "<im_start>", "<im_end>")
BASE = 700


def _write(directory: Path, name: str, values: Any) -> None:
    (directory / name).write_text(json.dumps(values))


def _decoder(ids: dict[str, int]) -> dict[str, Any]:
    base = {"0": {"content": "<unk>"}, "1": {"content": "<s>"}}
    return {"added_tokens_decoder": base | {str(value): {"content": token} for token, value in ids.items()}}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("added_tokens.json", IDS),
        ("tokenizer_config.json", _decoder(IDS)),
        ("tokenizer.json", {"added_tokens": [{"id": i, "content": t} for t, i in {"<s>": 1, **IDS}.items()]}),
        ("special_tokens_map.json", {"additional_special_tokens": list(IDS)}),
        ("special_tokens_map.json", {"additional_special_tokens": [{"content": token} for token in IDS]}),
        ("tokenizer_config.json", {"additional_special_tokens": list(IDS)}),
    ],
)  # fmt: skip
def test_any_file_tells_the_ids(tmp_path: Path, name: str, values: Any) -> None:
    _write(tmp_path, name, values)
    assert added_tokens(tmp_path, BASE, USUAL) == IDS
    assert token_files(tmp_path) == [tmp_path / name]


def test_what_one_file_leaves_out_another_tells(tmp_path: Path) -> None:
    _write(tmp_path, "added_tokens.json", {"<im_end>": 705, "<im_start>": 703})
    _write(tmp_path, "tokenizer_config.json", _decoder({"<im_start>": 703, "<im_patch>": 710}))
    _write(
        tmp_path, "special_tokens_map.json", {"pad_token": "<unk>", "additional_special_tokens": ["<im_end>", "[SEG]"]}
    )
    expected = {"<im_end>": 705, "<im_start>": 703, "<im_patch>": 710, "[SEG]": 711}
    assert added_tokens(tmp_path, BASE, USUAL) == expected


def test_a_file_that_knows_all_that_is_needed_is_the_only_one_read(tmp_path: Path) -> None:
    _write(tmp_path, "added_tokens.json", IDS)
    (tmp_path / "tokenizer_config.json").write_text("not JSON")
    assert token_files(tmp_path) == [tmp_path / "added_tokens.json"]
    assert added_tokens(tmp_path, BASE, USUAL) == IDS


def test_without_any_they_follow_the_vocabulary_in_the_models_order(tmp_path: Path) -> None:
    _write(tmp_path, "tokenizer_config.json", {"legacy": True, "added_tokens_decoder": None})
    assert added_tokens(tmp_path, BASE, USUAL) == {"[SEG]": 700, "<im_start>": 701, "<im_end>": 702}


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "added_tokens.json", {"[SEG]": 700})
    _write(tmp_path, "tokenizer_config.json", _decoder(IDS))
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: says that '\[SEG\]' is 703"):
        added_tokens(tmp_path, BASE, USUAL)


@pytest.mark.parametrize(
    "values",
    [
        {"added_tokens_decoder": {"x": {"content": "[SEG]"}}},
        {"added_tokens_decoder": [1]},
        {"added_tokens": [{"content": "[SEG]"}]},
        {"added_tokens": [{"id": 700, "content": ""}]},
        {"added_tokens": 7},
        {"additional_special_tokens": [{"id": 3}]},
        {"additional_special_tokens": [None]},
    ],
)
def test_malformed_files_are_named(tmp_path: Path, values: Any) -> None:
    _write(tmp_path, "tokenizer_config.json", values)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: its added tokens are malformed"):
        added_tokens(tmp_path, BASE, USUAL)
