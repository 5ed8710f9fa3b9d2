"""Checkpoints: finding and describing them. Loading is `litelvlm.loading`; this module imports no torch.

Two layouts are read. The published one is what `MBZUAI/GLaMM-RefSeg` or `xinlai/LISA-7B-v1` hold (LLaVA's and SAM's
original names; the CLIP towers come from elsewhere). The converted one, which `litelvlm.convert` writes, holds
everything under `GlammModel`'s own names in safetensors. `config.json` says which model it is
(`litelvlm.models.registry`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from litelvlm.added_tokens import token_files
from litelvlm.checkpoint_files import read_json, weight_paths
from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.models.description import OPENAI_CLIPS
from litelvlm.models.glamm import GLAMM
from litelvlm.models.registry import converted_as, described_as

DEMO_MODEL = "demo"
DEMO_DIRECTORY = Path(__file__).parent / "demo_checkpoint"
CLIP_MERGES = "clip_merges.txt"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$")
_FULL_HASH_BYTES = 256 * 2**20
_IDENTIFYING_FILES = ("config.json", "tokenizer.model", "added_tokens.json", CLIP_MERGES, "merges.txt")
_PUBLISHED_CLIP = ("mm_vision_tower", "vision_tower")  # entries of config.json that name the CLIP


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was found and whose configuration was read; its weights are not loaded yet.

    Attributes:
        directory: where its files are.
        config: the model's configuration.
        clip_directory: directory of the CLIP towers; None if they are inside (converted) or open_clip's.
        openai_clip: open_clip's architecture for OpenAI's weights of the CLIP towers, where they are open_clip's.
        converted: whether it is in the converted layout.
        revision: hash that identifies its content, for fingerprints.
    """

    directory: Path
    config: GlammConfig
    clip_directory: Path | None
    openai_clip: str | None = None
    converted: bool
    revision: str

    @property
    def clip_merges(self) -> Path | None:
        """BPE merges of CLIP's tokeniser where its vocabulary is not the standard one."""
        if self.config.clip.vocab_size == ClipSizes().vocab_size:
            return None
        if self.converted:
            return self.directory / CLIP_MERGES
        return self.clip_directory / "merges.txt" if self.clip_directory else None


def resolve_model(model: str | Path, *, kind: str = "model") -> Path:
    """The directory of a checkpoint.

    Args:
        model: "demo" (the shipped checkpoint), a directory, or a Hugging Face id, optionally `id@revision`.
        kind: the option's name, for messages.

    Raises:
        FileNotFoundError: if there is no such directory, or the hub cannot serve it.
        ValueError: if it is neither.
    """
    if str(model) == DEMO_MODEL and kind == "model":
        return DEMO_DIRECTORY
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if not _HUB_ID.match(str(model)) or path.exists():
        raise FileNotFoundError(f"{kind}: no such directory: {model}")
    return _download(str(model), kind)


def open_checkpoint(model: str | Path, clip: str | Path | None = None) -> Checkpoint:
    """Finds a checkpoint and reads its configuration, not its weights.

    Args:
        model: see `resolve_model`.
        clip: for the published layout, a Hugging Face CLIP directory or id; None means open_clip's weights of OpenAI,
            of the CLIP that `config.json` names or else of the model's own.

    Raises:
        FileNotFoundError, ValueError: in one line that says what is wrong.
    """
    directory = resolve_model(model)
    config_path = directory / "config.json"
    if not config_path.is_file():
        raise FileNotFoundError(f"model: no config.json in {directory}; is this a checkpoint?")
    values = read_json(config_path)
    converted = converted_as(values)
    if converted is not None:
        if clip is not None:
            raise ValueError("clip: a converted checkpoint holds its CLIP towers; leave this out")
        config = GlammConfig.from_dict(values.get("model", {}), converted)
        return Checkpoint(
            directory=directory, config=config, clip_directory=None, converted=True, revision=content_hash([directory])
        )
    if clip is None:
        architecture, image_size = OPENAI_CLIPS[_clip_named(values)]
        config = GlammConfig.from_published(values, ClipSizes(image_size=image_size))
        return Checkpoint(
            directory=directory,
            config=config,
            clip_directory=None,
            openai_clip=architecture,
            converted=False,
            revision=content_hash([directory]),
        )
    clip_directory = resolve_model(clip, kind="clip")
    return Checkpoint(
        directory=directory,
        config=GlammConfig.from_published(values, clip_sizes(clip_directory)),
        clip_directory=clip_directory,
        converted=False,
        revision=content_hash([directory, clip_directory]),
    )


def open_towers(model: str | Path, clip: str | Path | None = None) -> Checkpoint:
    """As `open_checkpoint`, for who wants the CLIP towers alone: `clip` also stands in for those of a converted one.

    Raises:
        FileNotFoundError, ValueError: in one line that says what is wrong.
    """
    if clip is None or not (found := open_checkpoint(model)).converted:
        return open_checkpoint(model, clip)
    directory = resolve_model(clip, kind="clip")
    return replace(
        found,
        config=replace(found.config, clip=clip_sizes(directory)),
        clip_directory=directory,
        converted=False,
        revision=content_hash([found.directory, directory]),
    )


def clip_sizes(directory: Path) -> ClipSizes:
    """Sizes of the towers in a Hugging Face CLIP directory.

    Raises:
        FileNotFoundError, ValueError: if `config.json` is absent or lacks an entry.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"clip: no config.json in {directory}; is this a CLIP directory?")
    values = read_json(path)
    try:
        vision, text = values["vision_config"], values["text_config"]
        return ClipSizes(
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            vision_width=vision["hidden_size"],
            vision_layers=vision["num_hidden_layers"],
            vision_heads=vision["num_attention_heads"],
            vision_mlp_dim=vision["intermediate_size"],
            embed_dim=values.get("projection_dim", 512),
            text_width=text["hidden_size"],
            text_layers=text["num_hidden_layers"],
            text_heads=text["num_attention_heads"],
            text_mlp_dim=text["intermediate_size"],
            vocab_size=text.get("vocab_size", ClipSizes().vocab_size),
            context_length=text.get("max_position_embeddings", ClipSizes().context_length),
            quick_gelu=vision.get("hidden_act", "quick_gelu") == "quick_gelu",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"clip: {path} lacks {error}") from error


def _clip_named(values: dict[str, Any]) -> str:
    """The key of `OPENAI_CLIPS` that a published `config.json` names, be it as a directory, or else the model's own."""
    names = [str(values.get(entry, "")).rstrip("/").rpartition("/")[2] for entry in _PUBLISHED_CLIP]
    known = (clip for name in names for clip in OPENAI_CLIPS if clip.rpartition("/")[2] == name)
    return next(known, described_as(values, GLAMM).clip)


def _download(model: str, kind: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = model.partition("@")
    patterns = ["*.json", "*.safetensors", "pytorch_model*.bin", "tokenizer.model", "merges.txt", CLIP_MERGES]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{kind}: {model} is neither a directory nor available from the Hugging Face hub ({type(error).__name__})"
        ) from error


def content_hash(directories: list[Path], extra: Sequence[str] = ()) -> str:
    """Hash of what identifies a checkpoint: its weights, configuration and tokenisers, and files of other names where
    they are there; of large files, both ends."""
    digest = hashlib.sha256()
    for directory in directories:
        files = [directory / name for name in (*_IDENTIFYING_FILES, *extra) if (directory / name).is_file()]
        files += [path for path in token_files(directory) if path not in files]
        for path in [*files, *weight_paths(directory)]:
            size = path.stat().st_size
            digest.update(f"{path.name}:{size}:".encode())
            with path.open("rb") as file:
                if size <= _FULL_HASH_BYTES:
                    digest.update(file.read())
                else:
                    digest.update(file.read(2**20))
                    file.seek(-(2**20), 2)
                    digest.update(file.read())
    return digest.hexdigest()[:16]
