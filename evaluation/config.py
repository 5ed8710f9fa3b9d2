"""What an evaluation is asked to do: which rules, budgets and seeds, how expressions are asked, on which run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MaxLen

from litelvlm.config import ORDERS, POSITIONS, RULES, UNPRUNED, PruningConfig
from litelvlm.evaluation.protocol import Protocol
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.settings import Flag, Part, Settings
from litelvlm.rules.registry import RULE_BOOK

#: For the others another seed changes nothing.
SEEDED_RULES = tuple(name for name, rule in RULE_BOOK.items() if "seeds" in rule.needs)
MAX_COMBINATIONS = 10_000
#: Settings of an annotation run that an evaluation has its own for.
NOT_EVALUATED = (
    "ontology",
    "num_retain_tokens",
    "rule",
    "order",
    "positions",
    "layout",
    "question",
    "answer",
    "phrase_case",
    "signals",
)


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Settings):
    """Rules x budgets x orders x positions x seeds. The unpruned model is one combination, whatever the others are.

    `example_images` is how many images keep their masks and tokens for the report's pictures; with `save_masks`, the
    answers of all images keep their masks.
    """

    section = "what is compared"

    rules: Annotated[tuple[str, ...], Flag("comma-separated, of", choices=RULES, unset="all")] = RULES
    budgets: Annotated[
        tuple[Annotated[int, Ge(1)], ...],
        Flag("visual tokens kept, comma-separated, as in the published tables"),
    ] = (192, 128, 64)
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], Flag("of the rule random, comma-separated")] = (0,)
    orders: Annotated[tuple[str, ...], Flag("of kept tokens, comma-separated, of", choices=ORDERS)] = ("auto",)
    positions: Annotated[tuple[str, ...], Flag("ids of kept tokens, comma-separated, of", choices=POSITIONS)] = (
        "compact",
    )
    fastv_layer: Annotated[int, Flag("layers that read all tokens under the rule fastv"), Ge(1)] = 2
    example_images: Annotated[int, Flag("images in the report with the tokens that were kept"), Ge(0)] = 6
    boundary: Annotated[bool, Flag("boundary F, too")] = True
    save_masks: Annotated[bool, Flag("keep every answer's mask in answers.parquet")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rules", "budgets", "seeds", "orders", "positions"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"--{name} is {','.join(map(str, values))!r}; give one or more, each once")
        if len(self.combinations()) > MAX_COMBINATIONS:
            raise ValueError(f"more than {MAX_COMBINATIONS} combinations; evaluate them in several runs")

    def combinations(self) -> list[PruningConfig]:
        """Every combination once, the unpruned model first if it is asked for.

        Raises ValueError naming a rule, budget, order or kind of positions that does not exist.
        """
        found = [PruningConfig(rule=UNPRUNED, num_retain_tokens=None)] if UNPRUNED in self.rules else []
        for rule, budget in product(self.rules, self.budgets):
            if rule == UNPRUNED:
                continue
            seeds = self.seeds if rule in SEEDED_RULES else self.seeds[:1]
            for order, positions, seed in product(self.orders, self.positions, seeds):
                found.append(self._pruning(rule, budget, order, positions, seed))
        return list(dict.fromkeys(found))

    def within(self, num_visual_tokens: int) -> SweepConfig:
        """The sweep without budgets of more than all V tokens, for which the rule `none` stands."""
        fitting = tuple(budget for budget in self.budgets if budget <= num_visual_tokens)
        if fitting == self.budgets:
            return self
        rules = self.rules if UNPRUNED in self.rules else (UNPRUNED, *self.rules)
        return dataclasses.replace(
            self, budgets=fitting or (num_visual_tokens,), rules=rules if fitting else (UNPRUNED,)
        )

    def _pruning(self, rule: str, budget: int, order: str, positions: str, seed: int) -> PruningConfig:
        return PruningConfig(
            rule=rule,
            num_retain_tokens=budget,
            order=order,
            positions=positions,
            seed=seed,
            fastv_layer=self.fastv_layer,
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Settings):
    """One run of `jobs/evaluate.py`.

    `run` says what is read, with which model, where and to which output; its pruning, layout and template do not count.
    `dataset` is the name in the outputs; of a published split (`refcoco_val`), the published numbers stand beside.
    """

    section = "output"

    sweep: SweepConfig = field(default_factory=SweepConfig)
    protocol: Protocol = field(default_factory=Protocol)
    run: Annotated[
        RunConfig,
        Part(
            without=(*NOT_EVALUATED, "baseline_images", "gpu_price", "write_images"),
            defaults=(("mask_column", "masks"),),  # as `jobs/ground_truth.py` writes it
        ),
    ]
    dataset: Annotated[
        str,
        Flag("name in the outputs; refcoco_val and so on have published numbers", unset="the input's name"),
        MaxLen(100),
    ] = ""
    bootstrap_samples: Annotated[int, Flag("for confidence intervals by image"), Ge(0)] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.dataset or Path(self.run.source.input[0]).name.removesuffix(".parquet")[:100]
        object.__setattr__(self, "dataset", name)

    def facts(self) -> dict[str, Any]:
        """What decides the answers beyond the run's own facts, as JSON values, for the fingerprint."""
        return {
            "combinations": [_in_words(pruning) for pruning in self.sweep.combinations()],
            "protocol": self.protocol.facts(),
            "mask_column": self.run.source.mask_column,
            "example_images": self.sweep.example_images,
            "boundary": self.sweep.boundary,
            "save_masks": self.sweep.save_masks,
        }


def remark(order: str, positions: str) -> str:
    """What is to be said of a rule beside its name: its order and positions in brackets, where they are not the usual.

    Empty for those that `SweepConfig` has by default.
    """
    extras = [order] if order != "auto" else []
    extras += [f"{positions} positions"] if positions != "compact" else []
    return f" ({', '.join(extras)})" if extras else ""


def _in_words(pruning: PruningConfig) -> str:
    return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(pruning).items() if value is not None)
