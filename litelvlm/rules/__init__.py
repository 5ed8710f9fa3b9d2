"""Pruning rules: which of an image's visual tokens the language model gets. `RULE_BOOK` maps names to rules.

A rule is a function of the evidence on B rows (an image, or an image with the phrases of one prompt) and of the budget
R. It returns a `Selection` that keeps exactly R tokens in each row, those that it makes by merging included. Rules are
deterministic, never wait for the device, decide each row by that row alone, and break ties by the lower index.

| rule | needs | rows | merges | keeps |
|---|---|---|---|---|
| `release` | similarity, context | prompts | no | union over phrases of the R // N least similar, then best context |
| `paper` | similarity, context | prompts | no | intersection over phrases of the R least similar, then best context |
| `low_similarity` | similarity | prompts | no | least similar, the phrases taking turns |
| `high_similarity` | similarity | prompts | no | most similar, the phrases taking turns |
| `context` | context | images | no | best context |
| `random` | seeds | images | no | R at random, by seed and image |
| `trim` | similarity | prompts | yes | R - 1 most similar, and the mean of the rest |
| `visionzip` | attention, keys | images | yes | most attended by `[CLS]`, and targets that the rest is merged into |
| `prumerge` | last_attention, last_keys | images | yes | R - 1 most attended with neighbours, and the rest summed |
| `vispruner` | attention, patches | images | no | half most attended, half of the others without duplicates |
| `divprune` | projected | images | no | greedily the farthest from each other |
| `fastv` | llm_attention | prompts | no | most attended by the last token in the language model's layer K |

docs/rules.md says where each comes from and what differs from its source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from litelvlm.rules.chance import random
from litelvlm.rules.divprune import divprune
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.prumerge import prumerge
from litelvlm.rules.published import context, paper, release
from litelvlm.rules.selection import Selection
from litelvlm.rules.similarity import high_similarity, low_similarity
from litelvlm.rules.trim import trim
from litelvlm.rules.visionzip import visionzip
from litelvlm.rules.vispruner import vispruner


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An entry of the rule book.

    Attributes:
        select: the rule; None where the language model itself drops tokens (`litelvlm.engine.fastv`).
        needs: names of the fields of `Evidence` that it reads besides `context`, which is always there.
        merges: whether some tokens are made of several.
    """

    select: Callable[[Evidence, int], Selection] | None
    needs: frozenset[str] = frozenset()
    merges: bool = False

    @property
    def per_prompt(self) -> bool:
        """Whether it looks at the phrases; otherwise all prompts of an image keep the same tokens."""
        return not self.needs.isdisjoint({"similarity", "llm_attention"})


_TEXT = frozenset({"similarity", "phrase_mask"})

RULE_BOOK: dict[str, Rule] = {
    "release": Rule(select=release, needs=_TEXT),
    "paper": Rule(select=paper, needs=_TEXT),
    "low_similarity": Rule(select=low_similarity, needs=_TEXT),
    "high_similarity": Rule(select=high_similarity, needs=_TEXT),
    "context": Rule(select=context),
    "random": Rule(select=random, needs=frozenset({"seeds"})),
    "trim": Rule(select=trim, needs=_TEXT, merges=True),
    "visionzip": Rule(select=visionzip, needs=frozenset({"attention", "keys"}), merges=True),
    "prumerge": Rule(select=prumerge, needs=frozenset({"last_attention", "last_keys"}), merges=True),
    "vispruner": Rule(select=vispruner, needs=frozenset({"attention", "patches"})),
    "divprune": Rule(select=divprune, needs=frozenset({"projected"})),
    "fastv": Rule(select=None, needs=frozenset({"llm_attention"})),
}
