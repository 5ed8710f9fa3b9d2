"""What an ontology makes of a run, told before it begins: prompts that the model takes, and what asking them costs."""

from __future__ import annotations

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.ontology import Ontology
from litelvlm.pipeline.shards.manifest import RunPlan
from litelvlm.pipeline.stages.engine import Engine

_LAYOUTS = ("separate", "shared")


def check_ontology(config: RunConfig, plan: RunPlan, engine: Engine) -> list[str]:
    """Remarks for the user, none where there is no ontology.

    Raises:
        ValueError: the model cannot be asked a prompt, naming it.
    """
    ontology = config.source.ontology
    if ontology is None:
        return []
    _check_prompts(ontology, engine)
    if plan.mapping.phrase is not None:
        column, default = plan.mapping.phrase, ontology.default
        rest = "fail" if default is None else f"become {default!r}"
        return [f"ontology: {ontology.describe()}; phrases of {column} are mapped to them, and {rest} where none fits"]
    num_asked = len(ontology.asked)
    line = f"ontology: {ontology.describe()}; {plan.num_rows} images are asked {num_asked} each: "
    line += f"{plan.num_rows * num_asked} answers"
    return [f"{line}. {_operations(config, plan, ontology, engine)}".rstrip(". ")]


def _check_prompts(ontology: Ontology, engine: Engine) -> None:
    preprocessor = engine.preprocessor()
    for one in ontology.asked:
        try:
            engine.check_phrase(preprocessor, one.phrase)
        except ValueError as error:
            raise ValueError(
                f"--ontology: class {one.category.name!r}: the prompt {one.phrase[:100]!r}: {error}"
            ) from None


def _operations(config: RunConfig, plan: RunPlan, ontology: Ontology, engine: Engine) -> str:
    """Modelled operations of the run, and of the other layout where that would take far fewer."""
    layouts = dict.fromkeys((config.model.layout, *_LAYOUTS))
    needed = {layout: engine.tflop_an_image(ontology.prompts, layout) for layout in layouts}
    known = {layout: tflop for layout, tflop in needed.items() if tflop is not None}
    mine = known.get(config.model.layout)
    if mine is None:
        return ""
    text = f"Needed operations (modelled): {_number(mine * plan.num_rows)} TFLOP"
    layout, best = min(known.items(), key=lambda one: one[1])
    return f"{text}; with --layout {layout} {_number(best * plan.num_rows)}" if best < 0.9 * mine else text


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
