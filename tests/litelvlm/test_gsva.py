"""GSVA: phrases as a list, and those that the model rejects. The checkpoint is LISA's tiny one with a token `[REJ]`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator, PromptTemplate
from litelvlm.checkpoint import open_checkpoint
from litelvlm.convert import convert_checkpoint
from litelvlm.glamm import GlammModel
from litelvlm.models.gsva import GSVA
from litelvlm.prompts import build_prompts, check_phrase
from litelvlm.tokenizer import BOS, EOS, IM_END, IM_START, IMAGE, SEG, GlammTokenizer
from tests.litelvlm.checkpoint_copies import edit_config, read_state
from tests.parity.lisa_fixtures import LISA_CLIP_TINY, LISA_TINY

PHRASES = ["a dog", "the bin.", "sky"]
SEG_ID, REJECT_ID = 702, 700


@pytest.fixture(scope="module")
def gsva_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ids in no order of anybody's: [REJ] 700, <im_end> 701, [SEG] 702, <im_start> 703; random rows of `lm_head`."""
    directory = Path(shutil.copytree(LISA_TINY, tmp_path_factory.mktemp("gsva") / "gsva"))
    edit_config(directory, architectures=["LisaGSVAForCausalLM"], vocab_size=704)
    ids = {"[REJ]": 700, "<im_end>": 701, "[SEG]": 702, "<im_start>": 703}
    (directory / "added_tokens.json").write_text(json.dumps(ids))
    state = read_state(directory)
    rng = torch.Generator().manual_seed(0)
    embeddings = state["model.embed_tokens.weight"]
    rejecting = torch.randn(1, 48, generator=rng) * embeddings.std()
    rows = [embeddings[:700], rejecting, embeddings[[702]], embeddings[[700]], embeddings[[701]]]
    head = torch.randn(704, 48, generator=rng) / 10
    torch.save(
        state | {"model.embed_tokens.weight": torch.cat(rows), "lm_head.weight": head}, directory / "pytorch_model.bin"
    )
    return directory


@pytest.fixture(scope="module")
def annotator(gsva_tiny: Path) -> Annotator:
    return Annotator.from_pretrained(gsva_tiny, clip=LISA_CLIP_TINY)


def _ask(annotator: Annotator, layout: str = "separate") -> AnnotationResult:
    image = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return annotator.annotate([AnnotationRequest(image=image, phrases=PHRASES)], layout=layout)[0]


def test_phrases_of_a_conversation_are_a_list_as_the_release_writes_it(gsva_tiny: Path) -> None:
    tokenizer = GlammTokenizer(gsva_tiny, GSVA)
    template = open_checkpoint(gsva_tiny, LISA_CLIP_TINY).config.template
    asked = [check_phrase(phrase, template, tokenizer) for phrase in PHRASES]
    assert asked == ["a dog", "the bin", "sky"]
    (prompt,) = build_prompts(asked, template, tokenizer, layout="rounds", max_text_tokens=1000)
    expected = [
        BOS, f"{GSVA.system} USER: ", IM_START, IMAGE, IM_END,
        "\n What are a dog, the bin, skyin this image? Please output segmentation masks. ASSISTANT: Sure,a dog:",
        SEG, ", the bin:", SEG, ", sky:", SEG, ".", EOS,
    ]  # fmt: skip
    assert list(prompt.input_ids) == tokenizer.encode(expected)
    assert [prompt.input_ids[index] for index in prompt.seg_indices] == [SEG_ID] * 3
    alone = build_prompts(asked[:1], template, tokenizer, layout="separate", max_text_tokens=1000)[0]
    assert build_prompts(asked[:1], template, tokenizer, layout="rounds", max_text_tokens=1000) == [alone]


def test_a_phrase_in_the_answer_is_text_and_other_words_begin_another_list(gsva_tiny: Path) -> None:
    tokenizer = GlammTokenizer(gsva_tiny, GSVA)
    template = open_checkpoint(gsva_tiny, LISA_CLIP_TINY).config.template
    other = PromptTemplate(question="Find {phrase}.", answer="{phrase} [SEG]")
    (listed,) = build_prompts(["[SEG]", "[REJ], x"], template, tokenizer, layout="rounds", max_text_tokens=1000)
    assert len(listed.seg_indices) == 2
    assert REJECT_ID not in listed.input_ids
    prompts = build_prompts(["a", "b", "c"], [template, other, other], tokenizer, layout="rounds", max_text_tokens=1000)
    assert [prompt.phrase_indices for prompt in prompts] == [(0,), (1, 2)]
    for_lists = PromptTemplate(question="{phrase}?", answer="[SEG].")
    with pytest.raises(ValueError, match=r"^answer: must hold \{phrase\} where phrases are listed"):
        build_prompts(["a", "b"], for_lists, tokenizer, layout="rounds", max_text_tokens=1000)


def test_long_lists_are_continued_within_the_context(gsva_tiny: Path) -> None:
    tokenizer = GlammTokenizer(gsva_tiny, GSVA)
    template = open_checkpoint(gsva_tiny, LISA_CLIP_TINY).config.template
    phrases = [f"thing {number}" for number in range(40)]
    prompts = build_prompts(phrases, template, tokenizer, layout="rounds", max_text_tokens=300)
    assert len(prompts) > 1
    assert max(prompt.num_text_tokens for prompt in prompts) <= 300
    assert [index for prompt in prompts for index in prompt.phrase_indices] == list(range(40))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
def test_absent_is_where_the_token_that_rejects_is_the_likeliest(
    annotator: Annotator, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of `lm_head` are turned so that the first phrase is rejected and the others are not."""
    seen: list[torch.Tensor] = []
    whole = GlammModel.mask_prompts

    def watched(model: GlammModel, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(hidden)
        return whole(model, hidden)

    monkeypatch.setattr(GlammModel, "mask_prompts", watched)
    plain = _ask(annotator, layout)
    hidden = torch.cat(seen).double()
    order = [
        int(np.abs(whole(annotator.model, hidden.float()).numpy() - own).max(1).argmin()) for own in plain.mask_prompts
    ]
    hidden = hidden[order]
    head = annotator.model.lm_head
    assert head is not None
    kept = head.weight[REJECT_ID].clone()
    first, others = hidden[0], hidden[1:].mean(0)
    try:
        head.weight[REJECT_ID] = (20 * (first - others) / (first - others).norm()).float()
        result = _ask(annotator, layout)
        logits = hidden @ head.weight.double().T
    finally:
        head.weight[REJECT_ID] = kept
    probability = logits.softmax(-1)[:, REJECT_ID].numpy()
    assert result.absent is not None
    assert result.absent.tolist() == (logits.argmax(-1) == REJECT_ID).tolist()
    assert result.absent[0]
    assert not result.absent.all()
    np.testing.assert_allclose(result.absent_probability, probability, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(result.low_res_logits, plain.low_res_logits)


@pytest.mark.slow
def test_models_that_cannot_reject_say_nothing_of_it(annotator: Annotator, tiny_annotator: Annotator) -> None:
    assert _ask(tiny_annotator).absent is None
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    nothing = annotator.annotate([AnnotationRequest(image=image, phrases=[])])[0]
    assert nothing.absent is not None
    assert nothing.absent.shape == (0,)


@pytest.mark.slow
def test_converted_it_still_rejects(gsva_tiny: Path, tmp_path: Path, annotator: Annotator) -> None:
    output = convert_checkpoint(gsva_tiny, tmp_path / "out", clip=LISA_CLIP_TINY, dtype=torch.float32)
    first, second = _ask(annotator), _ask(Annotator.from_pretrained(output))
    np.testing.assert_array_equal(first.absent_probability, second.absent_probability)


def test_a_checkpoint_without_the_token_is_refused(gsva_tiny: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(gsva_tiny, tmp_path / "broken"))
    (broken / "added_tokens.json").write_text(json.dumps({"<im_end>": 701, "[SEG]": 702, "<im_start>": 703}))
    with pytest.raises(ValueError, match=r"lacks \[REJ\]"):
        Annotator.from_pretrained(broken, clip=LISA_CLIP_TINY)
