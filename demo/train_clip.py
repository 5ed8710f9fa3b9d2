"""Stage 1: both CLIP towers, trained on scenes and captions, and then frozen.

Three objectives: CLIP's own (each scene against the captions of the batch); the sigmoid one of SigLIP (arXiv
2303.15343) between each scene and a bank of short phrases, whose truth the drawn scenes tell; and, in the second half,
a dense one on the patch tokens (`demo.dense`), without which minutes of training teach them little but colour. In the
first half a part of the patches is dropped, as in FLIP (arXiv 2212.00794), which makes it faster.

With `contrastive`, CLIP's own objective is the only one, as CLIP is trained.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import open_clip.tokenizer
import torch
from open_clip.transformer import PatchDropout
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.clip_encoder import ClipEncoder
from litelvlm.clip_tokenizer import load_clip_tokenizer
from litelvlm.config import ClipSizes
from litelvlm.demo.captions import bank_labels, caption, carry, phrase_bank
from litelvlm.demo.dense import DenseHeads, label_patches
from litelvlm.demo.rendering import CLIP_SIZE, SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.pixels import normalize_clip

NUM_MERGES = 2048
SIZES = ClipSizes(
    image_size=CLIP_SIZE,
    patch_size=12,
    vision_width=128,
    vision_layers=5,
    vision_heads=4,
    vision_mlp_dim=512,
    embed_dim=64,
    text_width=96,
    text_layers=3,
    text_heads=4,
    text_mlp_dim=384,
    vocab_size=512 + NUM_MERGES + 2,
    context_length=48,
)
BATCH = 128
LEARNING_RATE = 1e-3
MAX_SCALE = 50.0
PATCH_DROPOUT = 0.5
DENSE_FROM = 0.5  # of the time; from then on no patch is dropped and the dense loss counts
PHRASES_WEIGHT = 10.0
IMAGE_TEXT_SHARE = 0.5  # weight of the image-text losses beside the dense one
DENSE_WEIGHTS = {"shown": 1.0, "words": 2.0, "offset": 10.0, "place": 0.5}


def write_merges(path: Path) -> None:
    """The first `NUM_MERGES` merges of CLIP's own byte-pair vocabulary, in Hugging Face's form."""
    source = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")
    path.write_text("\n".join(["#version: 0.2", *lines[1 : NUM_MERGES + 1]]) + "\n", encoding="utf-8")


class BankLoss(nn.Module):
    """Sigmoid loss of images against phrases with known truth; scale and bias are only needed in training."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, images: Tensor, texts: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.log_scale.exp() * images @ texts.T + self.bias, truth)


def train_clip(
    scenes: SceneArrays,
    directory: Path,
    *,
    minutes: float,
    seed: int,
    contrastive: bool = False,
    start: ClipEncoder | None = None,
) -> ClipEncoder:
    """Trains the towers for a time.

    Args:
        scenes: training scenes.
        directory: where `clip.safetensors`, `clip_merges.txt` and `clip.csv` (the curve) go.
        minutes: wall-clock time; the learning rate follows a cosine over it.
        seed: of weights, scenes and captions.
        contrastive: leave out the other two objectives.
        start: towers to go on with; None begins anew.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_merges(directory / "clip_merges.txt")
    tokenizer = load_clip_tokenizer(directory / "clip_merges.txt", SIZES.context_length)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder, bank_loss, bank = start or ClipEncoder(SIZES), BankLoss(), [] if contrastive else phrase_bank()
    dense = DenseHeads(SIZES.vision_width, SIZES.image_size // SIZES.patch_size)
    params = [*encoder.parameters(), *bank_loss.parameters(), *dense.parameters()]
    training = Training("clip", directory / "clip.csv", minutes=minutes, save=lambda: save_clip(encoder, directory))
    for progress in training.steps(params, LEARNING_RATE):
        whole = progress >= DENSE_FROM
        encoder.clip.visual.patch_dropout = nn.Identity() if whole else PatchDropout(PATCH_DROPOUT)
        chosen = rng.choice(len(scenes), BATCH, replace=False)
        pixels = normalize_clip([scenes.clip_pixels[i] for i in chosen], torch.device("cpu"), torch.float32)
        texts = [caption(scenes, int(i), rng) for i in chosen] + [carry(words, rng) for words in bank]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            patches, seen = encode_images(encoder, pixels)
            read = encoder.clip.encode_text(tokenizer(texts))
            is_dense = whole and not contrastive
            of_patches = dense(patches, label_patches(scenes, chosen, dense.grid)) if is_dense else {}
        seen, read = F.normalize(seen.float(), dim=-1), F.normalize(read.float(), dim=-1)
        losses = _image_text_losses(encoder, seen, read[:BATCH])
        if contrastive:
            training.learn(losses["contrast"], losses)
            continue
        truth = torch.from_numpy(bank_labels(scenes, chosen, bank))
        losses["phrases"] = bank_loss(seen, read[BATCH:], truth)
        total = losses["contrast"] + PHRASES_WEIGHT * losses["phrases"]
        if is_dense:
            weighted = [weight * of_patches[name] for name, weight in DENSE_WEIGHTS.items()]
            total = IMAGE_TEXT_SHARE * total + torch.stack(weighted).sum()
        training.learn(total, losses | of_patches)
    return encoder


def encode_images(encoder: ClipEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Patch tokens of layer -2, BxVxD, and image embeddings BxE, with gradients."""
    visual = encoder.clip.visual
    hidden = visual._embeds(pixels)
    for block in visual.transformer.resblocks[:-1]:
        hidden = block(hidden)
    pooled, _ = visual._pool(visual.transformer.resblocks[-1](hidden))
    return hidden[:, 1:], pooled @ visual.proj


def _image_text_losses(encoder: ClipEncoder, seen: Tensor, read: Tensor) -> dict[str, Tensor]:
    """CLIP's loss on B matching pairs of normalised embeddings, and how often an image finds its caption."""
    logits = encoder.clip.logit_scale.exp().clamp(max=MAX_SCALE) * seen @ read.T
    own = torch.arange(len(seen))
    contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    return {"contrast": contrast, "retrieval_accuracy": (logits.argmax(1) == own).float().mean()}


def save_clip(encoder: ClipEncoder, directory: Path) -> None:
    state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, directory / "clip.safetensors")


def load_clip(directory: Path) -> ClipEncoder:
    """The towers that `train_clip` wrote."""
    encoder = ClipEncoder(SIZES)
    encoder.load_state_dict(load_file(directory / "clip.safetensors"))
    return encoder
