"""Loading: the published layout at tiny and at full size, damage, hostility, conversion, memory."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.checkpoint import clip_sizes, open_checkpoint, resolve_model
from litelvlm.clip_tokenizer import MAX_CACHED_WORDS, load_clip_tokenizer
from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.convert import convert_checkpoint
from litelvlm.glamm import GlammModel
from litelvlm.loading import CheckpointError, check_shapes, load_model
from litelvlm.weight_files import iter_shapes
from litelvlm.weight_names import place_clip, place_glamm, place_open_clip
from tests.litelvlm.published_layout import clip_shapes, glamm_shapes
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

PUBLISHED_CONFIG = {
    "vocab_size": 32007, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "mm_hidden_size": 1024, "architectures": ["GLaMMForCausalLM"], "model_type": "llava", "out_dim": 256,
}  # fmt: skip


@pytest.fixture
def glamm_copy(tmp_path) -> Path:
    return Path(shutil.copytree(GLAMM_TINY, tmp_path / "glamm"))


def _state(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "pytorch_model.bin", weights_only=True)


def test_layout_rules_equal_the_recorded_checkpoints():
    checkpoint = open_checkpoint(GLAMM_TINY, CLIP_TINY)
    recorded = dict(iter_shapes([GLAMM_TINY / "pytorch_model.bin"]))
    unused = {name for name in recorded if "region_encoder" in name or "inv_freq" in name}
    expected = glamm_shapes(checkpoint.config.llm, checkpoint.config.sam, checkpoint.config.clip)
    assert {name: shape for name, shape in recorded.items() if name not in unused} == expected
    assert dict(iter_shapes([CLIP_TINY / "pytorch_model.bin"])) == clip_shapes(clip_sizes(CLIP_TINY))


def test_full_size_published_layout_maps_completely():
    config = GlammConfig.from_published(PUBLISHED_CONFIG, ClipSizes())
    with torch.device("meta"):
        model = GlammModel(config)
    assert 7.6e9 < sum(param.numel() for param in model.parameters()) < 7.9e9
    offered = glamm_shapes(config.llm, config.sam, config.clip)
    offered |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (64,) for i in range(32)}
    offered |= {"model.region_encoder.mlvl_fuse.input_conv.0.weight": (1024, 1026, 1, 1)}
    placed = [(name, place_glamm(name), shape) for name, shape in offered.items()]
    placed += [(name, place_clip(name), shape) for name, shape in clip_shapes(config.clip).items()]
    check_shapes(model, placed, "full size")
    dropped = [entry for entry in placed if entry[0] != "model.norm.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(llm\.norm\.weight\)"):
        check_shapes(model, dropped, "full size")


def test_open_clip_names_map_completely():
    config = GlammConfig.from_published(PUBLISHED_CONFIG, ClipSizes())
    with torch.device("meta"):
        model = GlammModel(config)
        towers = open_clip.model.CLIP(**open_clip.get_model_config("ViT-L-14-336"), quick_gelu=True)
    placed = [(n, place_glamm(n), s) for n, s in glamm_shapes(config.llm, config.sam, config.clip).items()]
    placed += [(n, place_open_clip(n), tuple(t.shape)) for n, t in towers.state_dict().items()]
    check_shapes(model, placed, "open_clip")
    dropped = [entry for entry in placed if entry[0] != "visual.proj"]
    with pytest.raises(CheckpointError, match=r"1 missing \(clip\.clip\.visual\.proj\)"):
        check_shapes(model, dropped, "open_clip")


def _single(directory: Path, state: dict[str, torch.Tensor]) -> None:
    (directory / "pytorch_model.bin").unlink()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")


def _sharded(directory: Path, state: dict[str, torch.Tensor], suffix: str) -> None:
    (directory / "pytorch_model.bin").unlink()
    names = sorted(state)
    halves = [names[::2], names[1::2]]
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map = {}
    for number, half in enumerate(halves, start=1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        part = {name: state[name].contiguous() for name in half}
        save_file(part, directory / file) if suffix == "safetensors" else torch.save(part, directory / file)
        weight_map |= dict.fromkeys(half, file)
    (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("form", ["safetensors", "sharded safetensors", "sharded bin"])
def test_every_file_form_loads_the_same_weights(glamm_copy, form):
    state = _state(glamm_copy)
    if form == "safetensors":
        _single(glamm_copy, state)
    else:
        _sharded(glamm_copy, state, form.split()[1])
    expected = load_model(open_checkpoint(GLAMM_TINY, CLIP_TINY), torch.device("cpu"), torch.float32)
    model = load_model(open_checkpoint(glamm_copy, CLIP_TINY), torch.device("cpu"), torch.float32)
    for (name, param), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.equal(param, other), name


def test_wrong_tensors_are_listed(glamm_copy):
    state = _state(glamm_copy)
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


class _Malice:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_pickled_code_is_refused_and_never_runs(glamm_copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"model.norm.weight": _Malice()}, glamm_copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could run code"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    (glamm_copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Malice()))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "header",
    [b"", b"\xff" * 8, (2**62).to_bytes(8, "little") + b"{}", (64).to_bytes(8, "little") + b'{"a":' * 12 + b"    "],
    ids=["empty", "huge length", "larger than the file", "not JSON"],
)
def test_damaged_safetensors_are_a_clear_error(glamm_copy, header):
    (glamm_copy / "pytorch_model.bin").unlink()
    (glamm_copy / "model.safetensors").write_bytes(header)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_lying_safetensors_header_is_refused(glamm_copy):
    state = {name: tensor.contiguous() for name, tensor in _state(glamm_copy).items()}
    _single(glamm_copy, state)
    path = glamm_copy / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["model.norm.weight"]["shape"] = [2**40]
    lie = json.dumps(header).encode()
    path.write_bytes(len(lie).to_bytes(8, "little") + lie + data[8 + length :])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def _edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"num_attention_heads": 7}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_attention_heads"),
        ({"rms_norm_eps": "NaN"}, "rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rope_theta": -1}, "rope_theta"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"sam": {"image_size": 2**20}}, "image_size"),
        ({"sam": {"image_size": 65}}, "image_size"),
        ({"sam": {"global_attn_indexes": 5}}, "global_attn_indexes"),
        ({"sam": {"global_attn_indexes": [10**9]}}, "global_attn_indexes"),
        ({"sam": {"num_hidden_layers": 10**6}}, "num_hidden_layers"),
        ({"sam": [1]}, "sam"),
        ({"hidden_size": True}, "hidden_size"),
        ({"mm_hidden_size": "\x1b[31m"}, "mm_hidden_size"),
        ({"sam": {"\x1b[31m": 1}}, "sam: does not know"),
        ({"hidden_size": 1e400}, "hidden_size"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(glamm_copy, changes, field):
    _edit_config(glamm_copy, **changes)
    with pytest.raises(ValueError, match=field) as caught:
        open_checkpoint(glamm_copy, CLIP_TINY)
    assert str(caught.value).isprintable()


def test_a_model_larger_than_its_files_takes_no_memory(glamm_copy):
    """A pickled tensor repeats one number 34 thousand million times in a file of a few kilobytes."""
    _edit_config(glamm_copy, vocab_size=2**24, hidden_size=2**11)
    state = {"model.embed_tokens.weight": torch.zeros(1).expand(2**24, 2**11)}
    torch.save(state, glamm_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"cannot hold the \d{11} parameters"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_quantised_weights_are_refused(glamm_copy):
    state = {name: tensor.contiguous() for name, tensor in _state(glamm_copy).items()}
    state["model.norm.weight"] = state["model.norm.weight"].to(torch.int8)
    _single(glamm_copy, state)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is torch\.int8, not floating point"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_tensors_given_twice_are_listed(glamm_copy):
    state = _state(glamm_copy)
    _sharded(glamm_copy, state, "safetensors")
    second = glamm_copy / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"model.norm.weight": state["model.norm.weight"] + 1}, second)
    first = glamm_copy / "model-00001-of-00002.safetensors"
    save_file(load_file(first) | {"model.norm.weight": state["model.norm.weight"]}, first)
    with pytest.raises(CheckpointError, match=r"1 repeated \(model\.norm\.weight\)"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_compressed_and_sparse_pickles_are_refused(glamm_copy):
    path = glamm_copy / "pytorch_model.bin"
    with zipfile.ZipFile(path) as stored:
        records = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in records.items():
            packed.writestr(name, content)
    with pytest.raises(ValueError, match="is compressed"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    torch.save({"model.norm.weight": torch.eye(3).to_sparse()}, path)
    with pytest.raises(ValueError, match="dense tensors"):
        list(iter_shapes([path]))


@pytest.mark.parametrize(
    "tokens",
    ['{"": 5}', '{"[SEG]": true}', '{"[SEG]": -1}', '{"[SEG]": "7"}', "[" * 100_000, "[]", "\x00"],
)
def test_added_tokens_are_checked(glamm_copy, tokens):
    (glamm_copy / "added_tokens.json").write_text(tokens)
    with pytest.raises(ValueError, match=r"added_tokens\.json"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_clip_merges_that_lead_outside_the_table_are_refused(tmp_path):
    clip = Path(shutil.copytree(CLIP_TINY, tmp_path / "clip"))
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["vocab_size"] = 600
    (clip / "config.json").write_text(json.dumps(config))
    merges = clip / "merges.txt"
    merges.write_text("#version: 0.2" + "\na b" * 87)
    with pytest.raises(ValueError, match=r"merges\.txt: makes 601 token ids"):
        Annotator.from_pretrained(GLAMM_TINY, clip=clip)
    merges.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="BPE merges"):
        Annotator.from_pretrained(GLAMM_TINY, clip=clip)


def test_clip_words_are_not_remembered_for_ever():
    tokenizer = load_clip_tokenizer(None, 77)
    expected = tokenizer("a red box")
    for start in range(0, 3 * MAX_CACHED_WORDS, 1000):
        tokenizer(" ".join(f"w{chr(97 + i % 26) * 3}{chr(97 + i // 26 % 26)}x{start}" for i in range(1000)))
        tokenizer.cache |= {f"word{start + i}": "" for i in range(1000)}
    assert len(tokenizer.cache) <= MAX_CACHED_WORDS + 2_000
    assert torch.equal(tokenizer("a red box"), expected)


@pytest.mark.parametrize(
    "target", [".", "..", "a:b.bin", "a\x00.bin", ["x"], "../secret.bin", "/etc/passwd", "a/b.bin", "..\\x.bin", 7]
)
def test_an_index_cannot_point_outside(glamm_copy, target):
    (glamm_copy / "pytorch_model.bin").unlink()
    index = {"weight_map": {"model.norm.weight": target}}
    (glamm_copy / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="outside"):
        open_checkpoint(glamm_copy, CLIP_TINY)


def test_absent_files_are_named(glamm_copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        open_checkpoint(tmp_path / "bare")
    (glamm_copy / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        open_checkpoint(glamm_copy, CLIP_TINY)


def test_another_models_config_is_refused(glamm_copy):
    with pytest.raises(ValueError, match="is this a GLaMM checkpoint"):
        open_checkpoint(CLIP_TINY)
    with pytest.raises(ValueError, match="mm_hidden_size"):
        open_checkpoint(glamm_copy)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(glamm_copy):
    (glamm_copy / "added_tokens.json").write_text('{"<im_start>": 700, "<im_end>": 701, "[SEG]": 5000}')
    with pytest.raises(ValueError, match="tokeniser"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_resolve_model_knows_the_demo():
    assert (resolve_model("demo") / "config.json").is_file()


def test_converted_checkpoint_gives_the_same_results(tmp_path, tiny_annotator):
    converted = convert_checkpoint(GLAMM_TINY, tmp_path / "out", clip=CLIP_TINY, dtype=torch.float32)
    assert sorted(path.suffix for path in converted.iterdir()) == [".json", ".json", ".model", ".safetensors"]
    image = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    request = AnnotationRequest(image=image, phrases=["dog", "the cat"])
    pruning = PruningConfig(num_retain_tokens=20)
    first = tiny_annotator.annotate([request], pruning=pruning)[0]
    second = Annotator.from_pretrained(converted).annotate([request], pruning=pruning)[0]
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)
    np.testing.assert_array_equal(first.masks, second.masks)
    with pytest.raises(ValueError, match="clip"):
        open_checkpoint(converted, CLIP_TINY)
    with pytest.raises(FileExistsError):
        convert_checkpoint(GLAMM_TINY, converted, clip=CLIP_TINY)


def test_conversion_in_shards_and_bfloat16(tmp_path):
    whole = convert_checkpoint(GLAMM_TINY, tmp_path / "whole", clip=CLIP_TINY)
    parts = convert_checkpoint(GLAMM_TINY, tmp_path / "parts", clip=CLIP_TINY, max_shard_size="500KB")
    assert (parts / "model.safetensors.index.json").is_file()
    state = load_file(whole / "model.safetensors")
    assert state["llm.norm.weight"].dtype == torch.bfloat16
    assert state["text_hidden_fcs.0.weight"].dtype == torch.float32
    model = load_model(open_checkpoint(parts), torch.device("cpu"), torch.bfloat16)
    assert all(torch.equal(param, state[name]) for name, param in model.named_parameters())


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
def test_loading_never_holds_two_copies(glamm_copy, form):
    """Measured in a process of its own, on a language model wide enough to dwarf the interpreter."""
    config = json.loads((glamm_copy / "config.json").read_text())
    config |= {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "vocab_size": 8000}
    (glamm_copy / "config.json").write_text(json.dumps(config))
    sizes = GlammConfig.from_published(config, clip_sizes(CLIP_TINY))
    state = {name: torch.zeros(shape) + 0.5 for name, shape in glamm_shapes(sizes.llm, sizes.sam, sizes.clip).items()}
    torch.save(state, glamm_copy / "pytorch_model.bin")
    if form == "safetensors":
        _single(glamm_copy, state)
    del state
    command = [sys.executable, "-c", _MEASURE, str(glamm_copy), str(CLIP_TINY)]
    ratio = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0.9 < ratio < 1.3
