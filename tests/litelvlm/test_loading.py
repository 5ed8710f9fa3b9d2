"""Filling a model: every form of file, whatever does not fit, and memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from litelvlm import Annotator
from litelvlm.checkpoint import DEMO_DIRECTORY, clip_sizes, open_checkpoint
from litelvlm.config import GlammConfig
from litelvlm.loading import CheckpointError, check_checkpoint, load_clip, load_model
from tests.litelvlm.checkpoint_copies import edit_config, read_state, save_sharded, save_single
from tests.litelvlm.published_layout import glamm_shapes
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "sharded safetensors", "sharded bin"])
def test_every_file_form_loads_the_same_weights(glamm_copy: Path, form: str) -> None:
    state = read_state(glamm_copy)
    if form == "safetensors":
        save_single(glamm_copy, state)
    else:
        save_sharded(glamm_copy, state, form.split()[1])
    expected = load_model(open_checkpoint(GLAMM_TINY, CLIP_TINY), torch.device("cpu"), torch.float32)
    model = load_model(open_checkpoint(glamm_copy, CLIP_TINY), torch.device("cpu"), torch.float32)
    for (name, param), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(param, other), name


@pytest.mark.slow
@pytest.mark.parametrize(("model", "clip"), [(GLAMM_TINY, CLIP_TINY), (DEMO_DIRECTORY, None)])
def test_the_clip_towers_alone_are_those_of_the_model(model: Path, clip: Path | None) -> None:
    checkpoint, device = open_checkpoint(model, clip), torch.device("cpu")
    towers = load_clip(checkpoint, device, torch.float32)
    expected = load_model(checkpoint, device, torch.float32).clip
    assert towers.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, towers.state_dict()[name]) for name, value in expected.state_dict().items())
    assert torch.equal(towers.clip.attn_mask, expected.clip.attn_mask)
    assert not towers.training


def test_towers_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    clip_copy = Path(shutil.copytree(CLIP_TINY, tmp_path / "clip"))
    state = read_state(clip_copy)
    del state["text_projection.weight"]
    torch.save(state, clip_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"1 missing \(clip\.clip\.text_projection\)"):
        load_clip(open_checkpoint(GLAMM_TINY, clip_copy), torch.device("cpu"), torch.float32)


def test_wrong_tensors_are_listed(glamm_copy: Path) -> None:
    state = read_state(glamm_copy)
    del state["model.norm.weight"]
    state["model.extra.weight"] = torch.zeros(3)
    state["\x1b[31m"] = torch.zeros(3)
    state["model.mm_projector.0.bias"] = torch.zeros(5)
    torch.save(state, glamm_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as caught:
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    message = str(caught.value)
    assert "1 missing (llm.norm.weight)" in message
    assert "2 unexpected (model.extra.weight, '\\x1b[31m')" in message
    assert "1 misshapen (model.mm_projector.0.bias [5] instead of [48])" in message
    assert "\n" not in message


def test_a_model_larger_than_its_files_takes_no_memory(glamm_copy: Path) -> None:
    """A pickled tensor repeats one number 34 thousand million times in a file of a few kilobytes."""
    edit_config(glamm_copy, vocab_size=2**24, hidden_size=2**11)
    state = {"model.embed_tokens.weight": torch.zeros(1).expand(2**24, 2**11)}
    torch.save(state, glamm_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"cannot hold the \d{11} parameters"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_quantised_weights_are_refused(glamm_copy: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in read_state(glamm_copy).items()}
    state["model.norm.weight"] = state["model.norm.weight"].to(torch.int8)
    save_single(glamm_copy, state)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is torch\.int8, not floating point"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_tensors_given_twice_are_listed(glamm_copy: Path) -> None:
    state = read_state(glamm_copy)
    save_sharded(glamm_copy, state, "safetensors")
    second = glamm_copy / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"model.norm.weight": state["model.norm.weight"] + 1}, second)
    first = glamm_copy / "model-00001-of-00002.safetensors"
    save_file(load_file(first) | {"model.norm.weight": state["model.norm.weight"]}, first)
    with pytest.raises(CheckpointError, match=r"1 repeated \(model\.norm\.weight\)"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_a_checkpoint_is_checked_without_its_weights(glamm_copy: Path) -> None:
    check_checkpoint(open_checkpoint(glamm_copy, CLIP_TINY))
    state = read_state(glamm_copy)
    del state["model.norm.weight"]
    torch.save(state, glamm_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"1 missing \(llm\.norm\.weight\)"):
        check_checkpoint(open_checkpoint(glamm_copy, CLIP_TINY))


def test_a_long_list_is_cut(glamm_copy: Path) -> None:
    state = read_state(glamm_copy) | {f"model.extra{index}": torch.zeros(1) for index in range(9)}
    torch.save(state, glamm_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"9 unexpected \(model\.extra0, .*, model\.extra7, …\)$"):
        check_checkpoint(open_checkpoint(glamm_copy, CLIP_TINY))


_MEASURE = """
import sys, threading, torch
from litelvlm.checkpoint import open_checkpoint
from litelvlm.loading import load_model

def anonymous_kib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

checkpoint = open_checkpoint(sys.argv[1], sys.argv[2])
before, peak, done = anonymous_kib(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, anonymous_kib())

thread = threading.Thread(target=watch)
thread.start()
model = load_model(checkpoint, torch.device("cpu"), torch.float32)
done.set(); thread.join()
size = sum(p.numel() * p.element_size() for p in model.parameters()) / 1024
print((max(peak, anonymous_kib()) - before) / size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_loading_never_holds_two_copies(glamm_copy: Path, form: str) -> None:
    """Measured in a process of its own, on a language model wide enough to dwarf the interpreter."""
    config = json.loads((glamm_copy / "config.json").read_text())
    config |= {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "vocab_size": 8000}
    (glamm_copy / "config.json").write_text(json.dumps(config))
    sizes = GlammConfig.from_published(config, clip_sizes(CLIP_TINY))
    state = {name: torch.zeros(shape) + 0.5 for name, shape in glamm_shapes(sizes.llm, sizes.sam, sizes.clip).items()}
    torch.save(state, glamm_copy / "pytorch_model.bin")
    if form == "safetensors":
        save_single(glamm_copy, state)
    del state
    command = [sys.executable, "-c", _MEASURE, str(glamm_copy), str(CLIP_TINY)]
    ratio = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0.9 < ratio < 1.3
