"""From a rule's evidence to the visual tokens that stay; see `litelvlm.rules`."""

from __future__ import annotations

import torch

from litelvlm.config import PruningConfig
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import RULE_BOOK
from litelvlm.rules.selection import Selection, keep


def select(evidence: Evidence, pruning: PruningConfig) -> Selection:
    """Applies any rule to the evidence that it needs."""
    num_tokens = evidence.context.shape[-1]
    if pruning.is_unpruned(num_tokens):
        return keep(torch.ones_like(evidence.context, dtype=torch.bool), num_tokens)
    rule = RULE_BOOK[pruning.rule].select
    if rule is None:
        raise ValueError(f"rule: {pruning.rule} is decided inside the language model, not from evidence")
    return rule(evidence, pruning.budget(num_tokens))
