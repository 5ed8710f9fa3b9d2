"""SAM 3's weights: read by this project's own readers, placed by transformers' names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from litelvlm.limits import shown
from litelvlm.sam3.checkpoint import Sam3Checkpoint, open_sam3, safetensors_paths
from litelvlm.weight_files import iter_shapes, iter_tensors

_DETECTOR = "detector_model."  # what names begin with in a checkpoint of the model for videos
_MAX_NAMED = 8


def load_sam3(checkpoint: Sam3Checkpoint, device: torch.device, dtype: torch.dtype) -> Any:
    """The `Sam3Model` in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: weights are absent or damaged, or do not fill the model.
    """
    from transformers import Sam3Model

    tensors = {name: tensor for name, tensor in iter_tensors(safetensors_paths(checkpoint.directory)) if _is_used(name)}
    with _quiet():
        try:
            found: Any = Sam3Model.from_pretrained(
                None,
                config=_config(checkpoint),
                state_dict=tensors,
                dtype=dtype,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # they are refused below, in one line
                output_loading_info=True,
            )
        except (TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise _misfit(checkpoint, " ".join(str(error).split())[:300]) from error
    model, told = found
    _refuse(checkpoint, told["missing_keys"], [name for name, *_ in told["mismatched_keys"]])
    return model.requires_grad_(False).to(device).eval()


def check_weights(directory: Path) -> None:
    """Compares names and shapes of the weights with the model. Raises FileNotFoundError or ValueError."""
    from transformers import Sam3Model

    checkpoint = open_sam3(directory)
    found = {
        name.removeprefix(_DETECTOR): shape
        for name, shape in iter_shapes(safetensors_paths(directory))
        if _is_used(name)
    }
    with _quiet(), torch.device("meta"):
        try:
            model = Sam3Model(_config(checkpoint))
        except (TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise _misfit(checkpoint, " ".join(str(error).split())[:300]) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    missing = [name for name in wanted if name not in found]
    _refuse(checkpoint, missing, [name for name, shape in wanted.items() if found.get(name, shape) != shape])


def _is_used(name: str) -> bool:
    return not name.startswith(("tracker_model.", "tracker_neck."))


def _config(checkpoint: Sam3Checkpoint) -> Any:
    from transformers import Sam3Config

    try:
        return Sam3Config.from_dict(checkpoint.values)
    except Exception as error:  # whatever a hostile or newer file makes of strict dataclasses
        raise _misfit(checkpoint, " ".join(str(error).split())[:300]) from error


def _refuse(checkpoint: Sam3Checkpoint, missing: Iterable[str], misshapen: Iterable[str]) -> None:
    parts = [
        f"{len(names)} {word}: {', '.join(map(shown, names[:_MAX_NAMED]))}{', …' if len(names) > _MAX_NAMED else ''}"
        for word, names in (("missing", sorted(missing)), ("misshapen", sorted(misshapen)))
        if names
    ]
    if parts:
        raise _misfit(checkpoint, "; ".join(parts))


def _misfit(checkpoint: Sam3Checkpoint, reason: str) -> ValueError:
    return ValueError(f"checkpoint {checkpoint.directory} does not fill a SAM 3 model: {reason}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and tables: what matters of them is raised."""
    from transformers.utils import logging as told

    logger, bars = logging.getLogger("transformers"), told.is_progress_bar_enabled()
    level = logger.level
    told.disable_progress_bar()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            told.enable_progress_bar()
