"""What models that begin with the shipped weights share."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from litelvlm.demo.language import LanguageHeads
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.warm_start import go_on, linear_fit
from litelvlm.glamm import GlammModel
from litelvlm.tokenizer import GlammTokenizer


def test_a_linear_map_is_found_again() -> None:
    chance = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 7, generator=chance), torch.randn(5, generator=chance)
    inputs = torch.randn(100, 7, generator=chance)
    found = linear_fit(inputs, inputs @ weight.T + bias)
    torch.testing.assert_close(found, (weight, bias), atol=1e-4, rtol=0)


def test_it_goes_on_with_what_was_left(tmp_path: Path, tokenizer: GlammTokenizer) -> None:
    models = [GlammModel(demo_config(tokenizer)) for _ in range(2)]
    heads = [LanguageHeads(160, 144) for _ in range(2)]
    weights = [model.get_submodule("projector.0").weight for model in models]
    left = models[0].state_dict() | {f"heads.{name}": value for name, value in heads[0].state_dict().items()}
    path = tmp_path / "joint.safetensors"
    go_on(models[1], heads[1], path)
    assert not torch.equal(*weights)
    save_file({name: value.contiguous() for name, value in left.items() if not name.startswith("clip.")}, path)
    go_on(models[1], heads[1], path)
    assert torch.equal(*weights)
    assert torch.equal(heads[1].location.weight, heads[0].location.weight)
