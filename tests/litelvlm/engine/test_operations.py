"""Needed and executed operations of plans."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm import Annotator
from litelvlm.config import GlammConfig
from litelvlm.engine.operations import PlannedWork, executed_flop, needed_flop
from litelvlm.engine.packing import plan_packing
from litelvlm.flops import sam_encoder_flop
from litelvlm.formulation import Formulation
from tests.litelvlm.engine.test_packing import PHRASES, prompts_of
from tests.litelvlm.engine.test_segments import seen_by_rule

FULL = GlammConfig()


def planned(annotator: Annotator, layout: str, num_retained: int = 6) -> PlannedWork:
    prompts = [*prompts_of(annotator, layout, PHRASES), *prompts_of(annotator, layout, PHRASES[:1])]
    return PlannedWork(images=2, phrases=4, plans=[plan_packing(prompts, num_retained, text_start=num_retained)])


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
def test_the_language_models_operations_are_those_of_its_tokens_and_pairs(
    demo_annotator: Annotator, layout: str
) -> None:
    """Layer by layer, by hand; the projector and the heads go beside."""
    work, sizes = planned(demo_annotator, layout), FULL.llm
    (plan,) = work.plans
    tokens, read, width = plan.num_tokens, len(plan.read), sizes.hidden_size
    pairs = int(seen_by_rule(plan).sum()) + tokens * len(plan.prefix_ids)
    full = 2 * tokens * (4 * width**2 + 3 * width * sizes.intermediate_size) + 4 * pairs * width
    last = 2 * tokens * 2 * width**2 + 2 * read * (2 * width**2 + 3 * width * sizes.intermediate_size)
    expected = (sizes.num_hidden_layers - 1) * full + last + 4 * pairs * width * read / tokens
    beside = needed_flop(FULL, PlannedWork(images=2, phrases=4, plans=[]))["llm"]
    np.testing.assert_allclose(needed_flop(FULL, work)["llm"] - beside, expected, rtol=1e-9)


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
def test_padding_is_executed_and_not_needed(demo_annotator: Annotator, layout: str) -> None:
    work = planned(demo_annotator, layout)
    needed = needed_flop(FULL, work)
    plain = executed_flop(FULL, work, Formulation(sam="plain", llama="padded"))
    folded = executed_flop(FULL, work, Formulation(sam="folded+compiled", llama="stretches"))
    kernel = executed_flop(FULL, work, Formulation(sam="kernel", llama="kernels"))
    assert plain["llm"] > folded["llm"] == kernel["llm"] == needed["llm"]
    assert plain["sam"] > folded["sam"] > kernel["sam"] == needed["sam"]
    assert plain["sam"] == 2 * sam_encoder_flop(FULL.sam)
    assert all(plain[stage] == needed[stage] for stage in ("clip", "prune", "decode_masks"))
    assert folded["sam"] / 2e12 == pytest.approx(5.67, abs=0.03)  # TFLOP of ViT-H with projections of real tokens only


def test_windows_that_fit_have_no_padding(demo_annotator: Annotator) -> None:
    work = PlannedWork(images=1, phrases=1, plans=[], scored_texts=3)
    needed = needed_flop(demo_annotator.config, work)
    assert needed == executed_flop(demo_annotator.config, work, Formulation())
    assert needed["prune"] > 0
