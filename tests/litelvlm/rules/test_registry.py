"""What is known of the rules without running one: their names, their order, and the table in docs/rules.md."""

from __future__ import annotations

import subprocess
import sys

import pytest

from litelvlm.config import RULES
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import RULE_BOOK, Rule, rule, rule_names
from litelvlm.rules.selection import Selection
from tests.conftest import ROOT

HEADER = """\
| rule | what stays | evidence | chosen for | merges | its own order |
|---|---|---|---|---|---|
"""


def table() -> str:
    """The table of docs/rules.md, from the registry."""
    return HEADER + "".join(line(name, RULE_BOOK[name]) for name in rule_names())


def line(name: str, rule: Rule) -> str:
    needs = ", ".join(f"`{one}`" for one in rule.needs if one != "phrase_mask") or "–"
    chosen_for, merges = "prompt" if rule.per_prompt else "image", "yes" if rule.merges else "no"
    return f"| `{name}` | {rule.keeps} | {needs} | each {chosen_for} | {merges} | {rule.order} |\n"


def test_the_table_of_the_guide_is_the_registry() -> None:
    assert table() in (ROOT / "docs/rules.md").read_text(encoding="utf-8"), f"docs/rules.md needs:\n{table()}"


def test_the_order_of_rules_is_that_of_sweeps_made_so_far() -> None:
    published = ("release", "paper", "random", "high_similarity", "low_similarity", "context", "trim", "visionzip")
    later = ("payn", "evtp", "csp", "altp", "nuwa")
    assert ("none", *published, "prumerge", "vispruner", "divprune", "fastv", *later) == RULES


def test_a_rule_is_known_by_its_function_and_stands_last_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litelvlm.rules.registry.RULE_BOOK", dict(RULE_BOOK))

    @rule(keeps="the first R", needs=("similarity",))
    def firsts(evidence: Evidence, budget: int) -> Selection:
        raise NotImplementedError

    assert rule_names() == (*RULES[1:], "firsts")


def test_names_of_rules_cost_no_torch() -> None:
    code = "import sys, litelvlm.config, litelvlm.pipeline.config; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
