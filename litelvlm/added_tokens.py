"""The tokens that a checkpoint adds to LLaMA's vocabulary, and their ids, from whichever of its files tell them.

Files are those of Hugging Face's tokenisers. `added_tokens.json` is enough where it knows the tokens that every model
here needs; else `tokenizer_config.json` and `tokenizer.json` tell the rest, and tokens that are listed without an id
follow the others in the order of the list. No order of the ids is assumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litelvlm.checkpoint_files import read_json

REQUIRED_TOKENS = ("<im_start>", "<im_end>", "[SEG]")
ADDED_TOKENS = "added_tokens.json"
_OTHERS = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")


def token_files(directory: Path) -> list[Path]:
    """The files that tell the added tokens of a checkpoint; none where none is there.

    Raises:
        ValueError: if `added_tokens.json` is malformed.
    """
    first = directory / ADDED_TOKENS
    found = [first] if first.is_file() else []
    if found and set(REQUIRED_TOKENS) <= set(_as_ids(first)):
        return found
    return found + [directory / name for name in _OTHERS if (directory / name).is_file()]


def added_tokens(directory: Path, base_size: int, usual: tuple[str, ...]) -> dict[str, int]:
    """Ids by token.

    Args:
        directory: the checkpoint's.
        base_size: size of the vocabulary that they are added to; lower ids that files tell are its own.
        usual: the model's tokens in their order, which follow the vocabulary where no file tells any.

    Raises:
        ValueError: if a file is malformed or two of them contradict each other; names the file.
    """
    ids: dict[str, int] = {}
    without_id: list[str] = []
    for path in token_files(directory):
        told, listed = (_as_ids(path), []) if path.name == ADDED_TOKENS else _told_by(path, base_size)
        for token, value in told.items():
            if ids.setdefault(token, value) != value:
                raise ValueError(
                    f"{path}: says that {token!r} is {value}, and {ADDED_TOKENS} or another file {ids[token]}"
                )
        without_id += listed
    for token in dict.fromkeys(without_id):
        if token not in ids:
            ids[token] = max(base_size - 1, *ids.values()) + 1 if ids else base_size
    return ids or {token: base_size + offset for offset, token in enumerate(usual)}


def _as_ids(path: Path) -> dict[str, int]:
    return _checked(read_json(path), path)


def _told_by(path: Path, base_size: int) -> tuple[dict[str, int], list[str]]:
    """What one of Hugging Face's other files says: ids by token, and tokens without one."""
    values = read_json(path)
    try:
        decoder = {int(key): _content(one) for key, one in (values.get("added_tokens_decoder") or {}).items()}
        entries = {int(one["id"]): _content(one) for one in values.get("added_tokens") or []}
        listed = [_content(one) for one in values.get("additional_special_tokens") or []]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its added tokens are malformed") from error
    pairs = [*decoder.items(), *entries.items()]
    return _checked({token: value for value, token in pairs if value >= base_size}, path), listed


def _content(entry: Any) -> str:
    """A token that is written as text, or as an object with its `content`."""
    text = entry["content"] if isinstance(entry, dict) else entry
    if not isinstance(text, str) or not text:
        raise ValueError("not a token")
    return text


def _checked(values: dict[str, Any], path: Path) -> dict[str, int]:
    if not all(token and type(value) is int and value >= 0 for token, value in values.items()):
        raise ValueError(f"{path}: must map tokens to their ids")
    return values
