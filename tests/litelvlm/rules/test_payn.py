"""One token of every neighbourhood, whatever it shows."""

from __future__ import annotations

import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.payn import payn


def test_a_quarter_of_the_tokens_is_one_of_every_block_of_four() -> None:
    kept = payn(Evidence(context=torch.rand(2, 64)), 16).kept
    blocks = kept.view(2, 4, 2, 4, 2).sum((2, 4))
    assert blocks.tolist() == torch.ones(2, 4, 4).tolist()


def test_what_tokens_show_does_not_matter() -> None:
    kept = payn(Evidence(context=torch.rand(3, 50)), 7).kept
    assert kept.sum(-1).tolist() == [7] * 3
    assert (kept == kept[0]).all()
