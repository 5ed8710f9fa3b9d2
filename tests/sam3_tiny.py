"""A SAM 3 checkpoint small enough for tests: all the model's parts, random weights, the shipped checkpoint's words."""

from __future__ import annotations

from pathlib import Path

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY

SIDE, PATCH = 64, 8
NUM_QUERIES = 6
_WIDTH = 32
_SPREAD = 15.0  # weights are made larger by this, so that scores and masks differ from one query to the next
_PRESENCE = 2.0  # added to the model's belief that there is any instance: some phrases get a mask, others none


def save_sam3(directory: Path) -> Path:
    """Writes `config.json`, weights, tokeniser and processor as `save_pretrained` does."""
    import torch
    from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

    merges = _merges()
    vocabulary = _vocabulary(merges)
    torch.manual_seed(3)
    model = Sam3Model(Sam3Config(**_sizes(len(vocabulary))))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and not name.startswith("vision_encoder.backbone"):
                weights.mul_(_SPREAD)
        model.detr_decoder.presence_head.layer3.bias.fill_(_PRESENCE)
    model.save_pretrained(directory)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    Sam3Processor(Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(directory)
    return directory


def _merges() -> list[tuple[str, str]]:
    lines = (DEMO_DIRECTORY / CLIP_MERGES).read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#version"))
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: at for at, word in enumerate(words)}


def _sizes(vocab_size: int) -> dict[str, dict[str, object]]:
    grid = SIDE // PATCH
    layer: dict[str, object] = {"hidden_size": _WIDTH, "num_attention_heads": 2}
    wide = layer | {"intermediate_size": 2 * _WIDTH}
    backbone = wide | {"model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": SIDE, "patch_size": PATCH}
    backbone |= {"window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": SIDE // 2}
    return {
        "vision_config": {
            "backbone_config": backbone,
            "fpn_hidden_size": _WIDTH,
            "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        },
        "text_config": wide
        | {"model_type": "clip_text_model", "vocab_size": vocab_size, "num_hidden_layers": 2, "projection_dim": _WIDTH}
        | {"max_position_embeddings": 32, "hidden_act": "gelu"}
        | {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1, "pad_token_id": vocab_size - 1},
        "geometry_encoder_config": wide | {"num_layers": 1},
        "detr_encoder_config": wide | {"num_layers": 1},
        "detr_decoder_config": wide | {"num_layers": 1, "num_queries": NUM_QUERIES},
        "mask_decoder_config": layer,
    }
