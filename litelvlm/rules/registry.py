"""The pruning rules there are. A file of this package registers its own; whoever imports the package knows them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a registry costs no torch
    from litelvlm.rules.evidence import Evidence
    from litelvlm.rules.selection import Selection

Select = Callable[["Evidence", int], "Selection"]

TEXT = ("similarity", "phrase_mask")
RULE_BOOK: dict[str, Rule] = {}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of a rule beside its name.

    Attributes:
        select: the rule; None where the language model itself drops tokens (`litelvlm.engine.fastv`).
        keeps: which tokens stay, in a line.
        needs: names of the fields of `Evidence` that it reads besides `context`, which is always there.
        merges: whether some tokens are made of several.
        order: in what order its paper gives tokens to the language model, in words.
        positions: "original" where tokens keep their position ids by its definition, whatever is configured.
        place: where it stands among all rules; those without a place are last, by name.
    """

    select: Select | None
    keeps: str
    needs: tuple[str, ...] = ()
    merges: bool = False
    order: str = "raster"
    positions: str = ""
    place: int = 1000

    @property
    def per_prompt(self) -> bool:
        """Whether it looks at the phrases; otherwise all prompts of an image keep the same tokens."""
        return "similarity" in self.needs or "llm_attention" in self.needs


def rule(**described: Any) -> Callable[[Select], Select]:
    """Decorator that registers a rule under its function's name, described by the attributes of `Rule`."""

    def register(select: Select) -> Select:
        RULE_BOOK[select.__name__] = Rule(select=select, **described)
        return select

    return register


def rule_names() -> tuple[str, ...]:
    """The names of all rules, in the order of their places."""
    return tuple(sorted(RULE_BOOK, key=lambda name: (RULE_BOOK[name].place, name)))
