"""A plan's tensors: embeddings in their places, positions, and everything else as the plan has it."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.engine.packed_tensors import pack
from litelvlm.engine.packing import plan_packing
from litelvlm.engine.segments import find_segments
from tests.litelvlm.engine.test_packing import PHRASES, prompts_of


def embed(ids: torch.Tensor) -> torch.Tensor:
    """Token ids as embeddings of two numbers."""
    return torch.stack([ids.float(), -ids.float()], dim=-1)


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
def test_every_token_gets_its_embedding(demo_annotator: Annotator, layout: str) -> None:
    prompts = [*prompts_of(demo_annotator, layout, PHRASES), *prompts_of(demo_annotator, layout, PHRASES[:1])]
    plan = plan_packing(prompts, 3, text_start=3)
    images = [number % 2 for number in range(len(prompts))]
    visual = torch.arange(2 * 9 * 2, dtype=torch.float32).reshape(2, 9, 2) + 1e6
    retained = torch.tensor([[number % 9, 8, 0] for number in range(len(prompts))])
    packed = pack(plan, visual, images, retained, embed, original=False)
    for number, (image, kept) in enumerate(zip(images, retained, strict=True)):
        places = plan.visual_places[3 * number : 3 * number + 3]
        torch.testing.assert_close(packed.embeds[places], visual[image][kept])
    torch.testing.assert_close(packed.embeds[plan.text_places], embed(torch.from_numpy(plan.text_ids)))
    for name in ("rows", "columns", "read", "read_slots", "position_ids"):
        assert getattr(packed, name).tolist() == getattr(plan, name).tolist()
    assert (packed.branches is None) == (layout != "shared")
    assert (packed.num_rows, packed.width, packed.num_slots) == (plan.num_prompts, plan.width, plan.num_slots)
    segments, stretches = find_segments(plan), packed.stretches
    assert stretches.own.tolist() == segments.own.tolist()
    assert stretches.own.dtype == torch.int32
    assert stretches.whole.tolist() == [0, plan.num_tokens]
    assert stretches.prefix_ends.tolist() == [0, len(plan.prefix_ids)]


def test_kept_tokens_carry_the_positions_of_their_patches(demo_annotator: Annotator) -> None:
    prompts = prompts_of(demo_annotator, "separate", PHRASES[:2])
    plan = plan_packing(prompts, 2, text_start=9)
    sources, patches = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[4, 8], [0, 5]])
    visual = torch.zeros(1, 9, 2)
    packed = pack(plan, visual, [0, 0], sources, embed, original=True, patches=patches)
    found = packed.position_ids[plan.visual_places] - len(plan.prefix_ids)
    assert found.tolist() == [4, 8, 0, 5]
    assert packed.position_ids[plan.text_places].tolist() == plan.position_ids[plan.text_places].tolist()
