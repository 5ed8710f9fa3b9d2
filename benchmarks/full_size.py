"""A model of a published size with random weights, made on its device, and a small one of the same parts.

Speed does not depend on what the weights are, as long as they are not all zeros. These are scaled so that activations
keep their size, and the mask decoder is balanced on a drawn image, so that masks have outlines and are neither empty
nor full nor noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.synthetic import draw_image, draw_phrases, write_tokenizer
from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.checkpoint import Checkpoint
from litelvlm.config import ClipSizes, GlammConfig, LlmSizes, SamSizes
from litelvlm.glamm import GlammModel
from litelvlm.models.description import OPENAI_CLIPS, ModelDescription
from litelvlm.models.glamm import GLAMM
from litelvlm.precision import to_float8
from litelvlm.preprocess import PreparedImage

_BALANCED_ON, _PHRASES = 4, 2  # images and their phrases
_SPREAD = 0.1  # so small that the activation behind it is all but linear and keeps the mean at zero
Records = list[tuple[PreparedImage, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and what it is measured on.

    Attributes:
        config: the model's sizes.
        budgets: visual tokens kept, the first of interest first; among them all of an image's.
        num_images: of a call to the engine; num_loop_images: of these, how many the release's loop takes.
        image_hw: height and width of the originals.
    """

    config: GlammConfig
    budgets: tuple[int, ...]
    num_images: int
    num_loop_images: int
    image_hw: tuple[int, int]


SIZES = {
    "full": Size(
        config=GlammConfig(), budgets=(192, 576, 128, 64), num_images=32, num_loop_images=4, image_hw=(480, 640)
    ),
    "small": Size(
        config=GlammConfig(
            llm=LlmSizes(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                         num_key_value_heads=4),
            sam=SamSizes(image_size=128, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, window_size=3,
                         global_attn_indexes=(1,), output_channels=32, mask_decoder_hidden_size=32,
                         mask_decoder_mlp_dim=64, iou_head_hidden_dim=32),
            clip=ClipSizes(image_size=84, vision_width=64, vision_layers=3, vision_heads=4, vision_mlp_dim=96,
                           embed_dim=32, text_width=32, text_layers=2, text_heads=2, text_mlp_dim=64),
        ),
        budgets=(12, 36, 8, 4), num_images=3, num_loop_images=1, image_hw=(60, 80),
    ),
}  # fmt: skip


def size_of(name: str, description: ModelDescription) -> Size:
    """A size of `SIZES` for any model of GLaMM's build: its own CLIP's input, the same shares of tokens kept."""
    size = SIZES[name]
    side, glamm_side = (OPENAI_CLIPS[one.clip][1] for one in (description, GLAMM))
    clip = dataclasses.replace(size.config.clip, image_size=size.config.clip.image_size * side // glamm_side)
    config = dataclasses.replace(size.config, description=description, clip=clip)
    shares = [budget / size.config.num_visual_tokens for budget in size.budgets]
    return dataclasses.replace(
        size, config=config, budgets=tuple(round(share * config.num_visual_tokens) for share in shares)
    )


@dataclass(kw_only=True)
class Contest:
    """The model of one size on a device, and records for it.

    Attributes:
        annotator: the engine.
        size: of the model.
        images: drawn, prepared.
    """

    annotator: Annotator
    size: Size
    images: list[PreparedImage] = field(init=False)

    def __post_init__(self) -> None:
        config, size_hw = self.size.config, self.size.image_hw
        self.images = [draw_image(config, size_hw, seed) for seed in range(self.size.num_images)]

    def records(self, num_phrases: int, number: int) -> Records:
        """All images with so many phrases each; those of another round `number` are other phrases."""
        return [(image, draw_phrases(num_phrases, f"{number} {row}")) for row, image in enumerate(self.images)]


@contextlib.contextmanager
def random_annotator(size: Size, device: torch.device, dtype: str) -> Iterator[Annotator]:
    """An engine with random weights; its tokeniser's files are there as long as the context is open.

    Args:
        size: of the model.
        device: where its weights are made.
        dtype: "float32", "bfloat16" or "float8".

    Raises:
        ValueError: float8 is asked for and the device cannot.
    """
    with tempfile.TemporaryDirectory() as directory:
        write_tokenizer(Path(directory), size.config.description)
        checkpoint = Checkpoint(
            directory=Path(directory), config=size.config, clip_directory=None, converted=False, revision="random"
        )
        model = random_model(size.config, device, torch.bfloat16 if dtype == "float8" else getattr(torch, dtype))
        annotator = Annotator(checkpoint, to_float8(model) if dtype == "float8" else model)
        balance(annotator, size)
        yield annotator


def random_model(config: GlammConfig, device: torch.device, dtype: torch.dtype) -> GlammModel:
    """Random weights, made on the device a module at a time; never is there a second copy.

    Norms are the identity, biases zero, products keep the size of what they multiply, and the mask decoder's upscaling
    gives neighbours the same value, so that masks are as smooth as the image embedding.
    """
    with torch.device("meta"):
        rejects = config.description.reject_token is not None
        model = GlammModel(config, lm_head=rejects).requires_grad_(False).cast(dtype)
    torch.manual_seed(0)
    for module in model.modules():
        module.to_empty(device=device, recurse=False)
        for name, param in module.named_parameters(recurse=False):
            _fill(module, name, param)
    model.restore_buffers(device)
    return model.eval()


def balance(annotator: Annotator, size: Size) -> None:
    """Centres and scales what the mask decoder's last upscaling yields for some records, so that masks cross zero."""
    grounding, runner = annotator.model.grounding_encoder, annotator._runner
    convolution: Any = grounding.mask_decoder.upscale_conv2
    outputs: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda module, args, output: outputs.append(output))
    decode: Any = runner._decode_masks  # which calls no module
    plain: Any = lambda images, index, prompts: grounding.decode_masks(images[list(index)], prompts)  # noqa: E731
    runner._decode_masks = plain
    try:
        records = Contest(annotator=annotator, size=size).records(_PHRASES, 0)[:_BALANCED_ON]
        requests = [AnnotationRequest(image=image, phrases=phrases) for image, phrases in records]
        annotator.annotate(requests, PruningConfig(rule="paper", num_retain_tokens=size.budgets[0]))
    finally:
        handle.remove()
        runner._decode_masks = decode
    found = torch.cat(outputs)
    mean, scale = found.mean((0, 2, 3)), found.std((0, 2, 3)).clamp_min(1e-6) / _SPREAD
    with torch.inference_mode():
        convolution.weight.div_(scale[None, :, None, None])
        convolution.bias.sub_(mean).div_(scale)


def _fill(module: nn.Module, name: str, param: Tensor) -> None:
    """One parameter of a module."""
    if "Norm" in type(module).__name__:
        param.fill_(float(name == "weight"))
    elif name.endswith("bias"):
        param.zero_()
    elif isinstance(module, nn.ConvTranspose2d):
        param[..., :1, :1].normal_(std=len(param) ** -0.5)
        param.copy_(param[..., :1, :1].clone().expand_as(param))
    else:
        param.normal_(std=param[0].numel() ** -0.5 if param.dim() > 1 else 1.0)
