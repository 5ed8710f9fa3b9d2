"""A SAM 3 checkpoint's configuration, read and checked without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litelvlm.checkpoint import content_hash
from litelvlm.checkpoint_files import read_json, weight_paths
from litelvlm.limits import check_finite, check_int_at_least

VIDEO = "sam3_video"
_PROCESSOR, _OLD_PROCESSOR = "processor_config.json", "preprocessor_config.json"
_TEXT_TOKENS = 32  # that the processor pads a phrase to
_MAX_SIDE = 8192
_BILINEAR = 2


@dataclass(frozen=True, kw_only=True)
class Sam3Checkpoint:
    """What is known of a checkpoint before its weights are read.

    Attributes:
        directory: where its files are.
        values: the image model's part of `config.json`.
        image_size: side of the square that images are resized to, in pixels.
        grid_size: patches along a side.
        text_tokens: that a phrase is padded to, start and end included.
        image_mean, image_std: of pixels in [0, 1], by channel.
    """

    directory: Path
    values: dict[str, Any]
    image_size: int
    grid_size: int
    text_tokens: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]

    @property
    def num_visual_tokens(self) -> int:
        """Image tokens that a phrase is held against."""
        return self.grid_size**2


def open_sam3(directory: Path) -> Sam3Checkpoint:
    """Reads the configuration. Raises FileNotFoundError or ValueError in one line that says what is wrong."""
    values = read_json(directory / "config.json")
    if values.get("model_type") == VIDEO:
        values = _part(values, "detector_config")
    if "quantization_config" in values:
        raise ValueError(f"model: {directory}: quantised SAM 3 checkpoints are not taken; use the published one")
    backbone, text = _part(_part(values, "vision_config"), "backbone_config"), _part(values, "text_config")
    image_size, patch_size = _side(backbone, "image_size", 1008), _side(backbone, "patch_size", 14)
    if image_size % patch_size:
        raise ValueError("config.json: image_size must be a multiple of patch_size")
    longest = text.get("max_position_embeddings", _TEXT_TOKENS)
    check_int_at_least("config.json: text_config.max_position_embeddings", longest, 3)
    processing = _processing(directory)
    size = processing.get("size", {"height": image_size, "width": image_size})
    if size != {"height": image_size, "width": image_size}:
        raise ValueError(f"{_PROCESSOR}: size is {size!r}, but the model reads {image_size}x{image_size}")
    if processing.get("resample", _BILINEAR) != _BILINEAR:
        raise ValueError(f"{_PROCESSOR}: resample must be {_BILINEAR} (bilinear)")
    if processing.get("rescale_factor", 1 / 255) != 1 / 255:
        raise ValueError(f"{_PROCESSOR}: rescale_factor must be 1/255")
    return Sam3Checkpoint(
        directory=directory,
        values=values,
        image_size=image_size,
        grid_size=image_size // patch_size,
        text_tokens=min(longest, _TEXT_TOKENS),
        image_mean=_channels(processing, "image_mean"),
        image_std=_channels(processing, "image_std"),
    )


def safetensors_paths(directory: Path) -> list[Path]:
    """The weight files. Raises FileNotFoundError or ValueError where there are none that hold tensors alone."""
    paths = weight_paths(directory)
    if any(path.suffix != ".safetensors" for path in paths):
        raise ValueError(f"model: {paths[0]}: SAM 3 is read from safetensors; save it with save_pretrained")
    return paths


def revision(directory: Path) -> str:
    """Hash of what identifies the checkpoint: weights, configuration, processing and tokeniser."""
    open_sam3(directory)
    safetensors_paths(directory)
    return content_hash([directory], extra=("vocab.json", _PROCESSOR, _OLD_PROCESSOR))


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    part = values.get(name) or {}
    if not isinstance(part, dict):
        raise ValueError(f"config.json: {name} must be an object")
    return part


def _side(values: dict[str, Any], name: str, default: int) -> int:
    side = values.get(name, default)
    if isinstance(side, list) and len(side) == 2 and side[0] == side[1]:
        side = side[0]
    check_int_at_least(f"config.json: backbone_config.{name}", side, 1)
    if side > _MAX_SIDE:
        raise ValueError(f"config.json: backbone_config.{name}: is {side}; no model has more than {_MAX_SIDE}")
    return int(side)


def _processing(directory: Path) -> dict[str, Any]:
    """Settings of the image processor; none where no file says any, which are the published ones."""
    if (directory / _PROCESSOR).is_file():
        return _part(read_json(directory / _PROCESSOR), "image_processor")
    return read_json(directory / _OLD_PROCESSOR) if (directory / _OLD_PROCESSOR).is_file() else {}


def _channels(processing: dict[str, Any], name: str) -> tuple[float, ...]:
    given = processing.get(name, [0.5] * 3)
    if not isinstance(given, list) or len(given) != 3:
        raise ValueError(f"{_PROCESSOR}: {name} must be three numbers")
    for value in given:
        check_finite(f"{_PROCESSOR}: {name}", value, positive=name == "image_std")
    return tuple(float(value) for value in given)
