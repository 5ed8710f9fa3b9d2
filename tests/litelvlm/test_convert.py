"""The converted layout holds the same model, and appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.checkpoint import open_checkpoint
from litelvlm.convert import check_output, convert_checkpoint
from litelvlm.loading import load_model
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

pytestmark = pytest.mark.slow


def test_converted_checkpoint_gives_the_same_results(tmp_path: Path, tiny_annotator: Annotator) -> None:
    converted = convert_checkpoint(GLAMM_TINY, tmp_path / "out", clip=CLIP_TINY, dtype=torch.float32)
    assert sorted(path.suffix for path in converted.iterdir()) == [".json", ".json", ".model", ".safetensors"]
    image = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    request = AnnotationRequest(image=image, phrases=["dog", "the cat"])
    pruning = PruningConfig(num_retain_tokens=20)
    first = tiny_annotator.annotate([request], pruning=pruning)[0]
    second = Annotator.from_pretrained(converted).annotate([request], pruning=pruning)[0]
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert Annotator.from_pretrained(converted).model.lm_head is None
    headed = [Annotator.from_pretrained(*one, lm_head=True) for one in ((GLAMM_TINY, CLIP_TINY), (converted,))]
    first, second = (one.annotate([request], pruning=pruning, signals=("seg",))[0] for one in headed)
    np.testing.assert_array_equal(first.seg_probability, second.seg_probability)
    with pytest.raises(ValueError, match="clip"):
        open_checkpoint(converted, CLIP_TINY)
    with pytest.raises(FileExistsError):
        convert_checkpoint(GLAMM_TINY, converted, clip=CLIP_TINY)


def test_conversion_in_shards_and_bfloat16(tmp_path: Path) -> None:
    whole = convert_checkpoint(GLAMM_TINY, tmp_path / "whole", clip=CLIP_TINY)
    parts = convert_checkpoint(GLAMM_TINY, tmp_path / "parts", clip=CLIP_TINY, max_shard_size="500KB")
    assert (parts / "model.safetensors.index.json").is_file()
    state = load_file(whole / "model.safetensors")
    assert state["llm.norm.weight"].dtype == torch.bfloat16
    assert state["text_hidden_fcs.0.weight"].dtype == torch.float32
    model = load_model(open_checkpoint(parts), torch.device("cpu"), torch.bfloat16)
    assert all(torch.equal(param, state[name]) for name, param in model.named_parameters())


def test_an_empty_directory_is_filled_and_a_broken_attempt_cleared(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    left_over = tmp_path / "out.partial"
    left_over.mkdir()
    (left_over / "stale.json").touch()
    assert convert_checkpoint(GLAMM_TINY, output, clip=CLIP_TINY) == output
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not (output / "stale.json").exists()
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in output.iterdir()), "others could not read it"


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    check_output(tmp_path / "absent")
    check_output(tmp_path)
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match=r"^output: .* is not an empty directory$"):
            check_output(output)
