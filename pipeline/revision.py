"""Which model it is, told from its files: so that a finished run can be recognised without loading any of it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from pipeline.config import ModelConfig

_WHOLE_FILE_BYTES = 256 << 20
_END_BYTES = 1 << 20
_DEMO = "demo"


def model_revision(model: ModelConfig) -> str:
    """Hash of the checkpoint's files, of large ones both ends; what the hub says for a model that lies there.

    Raises:
        FileNotFoundError, ValueError: there is no such model.
    """
    directories = [_directory(model.model)] + ([_directory(model.clip)] if model.clip else [])
    if not all(directory.is_dir() for directory in directories):
        from litelvlm.checkpoint import open_checkpoint

        return open_checkpoint(model.model, model.clip).revision
    digest = hashlib.sha256()
    for directory in directories:
        for path in sorted(path for path in directory.iterdir() if path.is_file()):
            _update(digest, path)
    return digest.hexdigest()[:16]


def _directory(model: str) -> Path:
    if model != _DEMO:
        return Path(model).expanduser()
    package = importlib.util.find_spec("litelvlm")  # finds it without importing it
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "demo_checkpoint"


def _update(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name}:{size}:".encode())
    with path.open("rb") as file:
        if size <= _WHOLE_FILE_BYTES:
            digest.update(file.read())
            return
        digest.update(file.read(_END_BYTES))
        file.seek(-_END_BYTES, 2)
        digest.update(file.read())
