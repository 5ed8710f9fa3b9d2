"""Loading a checkpoint into a `GlammModel` without ever holding two copies of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from litelvlm.checkpoint import Checkpoint
from litelvlm.checkpoint_files import weight_paths
from litelvlm.clip_encoder import ClipEncoder
from litelvlm.clip_tokenizer import check_merges
from litelvlm.config import GlammConfig
from litelvlm.glamm import GlammModel
from litelvlm.limits import shown
from litelvlm.models.registry import MODELS
from litelvlm.precision import FLOAT8, FLOAT8_BASE, check_float8, to_float8
from litelvlm.weight_files import iter_shapes, iter_tensors
from litelvlm.weight_names import (
    LM_HEAD,
    Placement,
    place_clip,
    place_converted,
    place_open_clip,
    place_published,
    with_lm_head,
)

OPENAI = "openai"  # whose weights of CLIP open_clip is asked for
_MAX_NAMED = 8

Place = Callable[[str], Placement | None]
WeightSource = tuple[Place, Callable[[], Iterable[tuple[str, Tensor]]], list[Path]]


class CheckpointError(ValueError):
    """The files are readable but are not the checkpoint that the model needs."""


def weight_sources(checkpoint: Checkpoint, *, lm_head: bool = False) -> Iterator[WeightSource]:
    """The weight sources: how to place names, the tensors, and the files behind them (none for open_clip)."""
    paths = weight_paths(checkpoint.directory)
    place = place_converted if checkpoint.converted else place_published(checkpoint.config.description)
    yield with_lm_head(place) if lm_head else place, lambda: iter_tensors(paths), paths
    if checkpoint.converted:
        return
    if checkpoint.clip_directory is None:
        yield place_open_clip, lambda: _openai_clip_tensors(checkpoint.openai_clip or ""), []
    else:
        clip_paths = weight_paths(checkpoint.clip_directory)
        yield place_clip, lambda: iter_tensors(clip_paths), clip_paths


def holds_lm_head(checkpoint: Checkpoint) -> bool:
    """Whether there is an `lm_head`, which published checkpoints have. Raises as `iter_shapes` and `weight_paths`."""
    return any(name == LM_HEAD for name, _ in iter_shapes(weight_paths(checkpoint.directory)))


def load_model(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, *, lm_head: bool = False
) -> GlammModel:
    """Builds the model without memory, checks that the checkpoint fills it, and copies the weights in one by one.

    At no time is more than the model itself and one tensor in memory. With float8 the model is loaded in bfloat16, and
    its large linear layers are converted one by one (`litelvlm.precision`). `lm_head` is loaded if it is asked for.

    Raises:
        CheckpointError: lists missing, unexpected and misshapen tensors.
        ValueError: float8 is asked for and the device cannot.
    """
    if dtype == FLOAT8:
        check_float8(device)
        return to_float8(load_model(checkpoint, device, FLOAT8_BASE, lm_head=lm_head))
    with torch.device("meta"):
        model = GlammModel(checkpoint.config, lm_head=lm_head).requires_grad_(False).cast(dtype)
    _check_files(model, checkpoint)
    check_shapes(model, _placed_shapes(checkpoint, lm_head=lm_head), str(checkpoint.directory))
    model.to_empty(device=device)
    model.restore_buffers(device)
    params = dict(model.named_parameters())
    for place, tensors, _ in weight_sources(checkpoint, lm_head=lm_head):
        for name, tensor in tensors():
            placement = place(name)
            if placement is None:
                continue
            if not tensor.is_floating_point():
                raise CheckpointError(
                    f"checkpoint {checkpoint.directory}: {shown(name)} is {tensor.dtype}, not floating point"
                )
            _fill(params[placement.name], placement, tensor)
    return model.eval()


class ClipTowers(nn.Module):
    """The CLIP towers alone, under the names that they have in `GlammModel`."""

    def __init__(self, config: GlammConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = ClipEncoder(config.clip)


def load_clip(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> ClipEncoder:
    """The CLIP towers of a checkpoint; nothing else of it is loaded.

    Raises:
        CheckpointError: lists missing and misshapen tensors of the towers.
        ValueError: a file is damaged.
    """
    if checkpoint.clip_merges is not None:
        check_merges(checkpoint.clip_merges, checkpoint.config.clip.vocab_size)
    with torch.device("meta"):
        towers = ClipTowers(checkpoint.config).requires_grad_(False).to(dtype)
    *_, (place, tensors, paths) = weight_sources(checkpoint)  # the last one holds CLIP
    shapes = iter_shapes(paths) if paths else ((name, tuple(tensor.shape)) for name, tensor in tensors())
    placed = ((name, place(name), shape) for name, shape in shapes)
    own = [(name, at, shape) for name, at, shape in placed if at is not None and at.name.startswith("clip.")]
    check_shapes(towers, own, str(checkpoint.clip_directory or checkpoint.directory))
    towers.to_empty(device=device)
    towers.clip.restore_buffers(device)
    params, wanted = dict(towers.named_parameters()), {name: at for name, at, _ in own}
    for name, tensor in tensors():
        if name in wanted:
            _fill(params[wanted[name].name], wanted[name], tensor)
    return towers.clip.eval()


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Checks that a checkpoint fills its model, from names and shapes alone; CLIP from open_clip is not fetched for it.

    Raises:
        CheckpointError: lists missing, unexpected and misshapen tensors.
        ValueError: if a file is damaged.
    """
    if all(paths for _, _, paths in weight_sources(checkpoint)):
        with torch.device("meta"):
            model = GlammModel(checkpoint.config)
        _check_files(model, checkpoint)
        check_shapes(model, _placed_shapes(checkpoint), str(checkpoint.directory))


def check_shapes(
    model: GlammModel | ClipTowers, placed: Iterable[tuple[str, Placement | None, tuple[int, ...]]], where: str
) -> None:
    """Checks that named shapes fill a model completely.

    Args:
        model: may be on the meta device.
        placed: source name, placement and shape of each tensor on offer.
        where: for the message.

    Raises:
        CheckpointError: lists missing, unexpected, misshapen and repeated tensors.
    """
    params = {name: tuple(param.shape) for name, param in model.named_parameters()}
    absent = {name: {0, 1, 2} for name in params}
    unexpected, misshapen, repeated = [], [], []
    for name, placement, shape in placed:
        if placement is None:
            continue
        if placement.name not in params:
            unexpected.append(name)
            continue
        expected = _source_shape(params[placement.name], placement)
        if shape != expected:
            misshapen.append(f"{name} {list(shape)} instead of {list(expected)}")
        given = {0, 1, 2} if placement.third is None else {placement.third}
        if not given <= absent[placement.name]:
            repeated.append(name)
        absent[placement.name] -= given
    missing = [name for name, parts in absent.items() if parts]
    problems = [("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen), ("repeated", repeated)]
    if any(names for _, names in problems):
        raise CheckpointError(
            f"checkpoint {where} does not fit the model: {_summary(problems)}{_hint(model, unexpected)}"
        )


def _check_files(model: GlammModel, checkpoint: Checkpoint) -> None:
    """Refuses files that are too small for the model that they claim to hold, before memory is taken for it: a pickled
    tensor may repeat one number to any size. Refuses CLIP merges that lead outside the text tower's table."""
    if checkpoint.clip_merges is not None:
        check_merges(checkpoint.clip_merges, checkpoint.config.clip.vocab_size)
    sources = list(weight_sources(checkpoint))
    num_bytes = sum(path.stat().st_size for _, _, paths in sources for path in paths)
    has_clip = all(paths for _, _, paths in sources)
    params = ((name, param) for name, param in model.named_parameters() if has_clip or not name.startswith("clip."))
    num_params = sum(param.numel() for _, param in params)
    if num_params > num_bytes:
        raise CheckpointError(
            f"checkpoint {checkpoint.directory}: its files of {num_bytes} bytes cannot hold the {num_params} "
            "parameters that config.json asks for"
        )


def _placed_shapes(
    checkpoint: Checkpoint, *, lm_head: bool = False
) -> Iterator[tuple[str, Placement | None, tuple[int, ...]]]:
    for place, tensors, paths in weight_sources(checkpoint, lm_head=lm_head):
        shapes = iter_shapes(paths) if paths else ((name, tuple(tensor.shape)) for name, tensor in tensors())
        for name, shape in shapes:
            yield name, place(name), shape


def _source_shape(shape: tuple[int, ...], placement: Placement) -> tuple[int, ...]:
    if placement.third is not None:
        shape = (shape[0] // 3, *shape[1:])
    return shape[::-1] if placement.transposed else shape


@torch.no_grad()
def _fill(param: Tensor, placement: Placement, tensor: Tensor) -> None:
    if placement.third is not None:
        param = param.chunk(3)[placement.third]
    param.copy_(tensor.t() if placement.transposed else tensor)


def _summary(problems: list[tuple[str, list[str]]]) -> str:
    texts = []
    for label, names in problems:
        if names:
            listed = ", ".join(map(shown, names[:_MAX_NAMED])) + (", …" if len(names) > _MAX_NAMED else "")
            texts.append(f"{len(names)} {label} ({listed})")
    return "; ".join(texts)


def _hint(model: GlammModel | ClipTowers, unexpected: list[str]) -> str:
    """Whose names those are, where they are another model's."""
    own = model.config.description
    others = [
        other.title
        for other in MODELS.values()
        if other.sam_prefix != own.sam_prefix and any(name.startswith(other.sam_prefix) for name in unexpected)
    ]
    return f"; these are names of {' or '.join(others)}, and it is taken for {own.title}" if others else ""


def _openai_clip_tensors(architecture: str) -> Iterator[tuple[str, Tensor]]:
    import open_clip

    try:
        model = open_clip.create_model(architecture, pretrained=OPENAI, force_quick_gelu=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"clip: open_clip could not load {architecture} / {OPENAI} ({type(error).__name__}); "
            "pass a local Hugging Face CLIP directory instead"
        ) from error
    yield from model.state_dict().items()
