"""Seconds and quality of one setting on the device that was measured, from the fit of its layout's shards.

Nothing is made up: what the shards cannot tell is refused with what to measure, and every quantity outside what was
measured becomes a warning in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from litelvlm.config import UNPRUNED
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.cost_model import CostModel, Load, Range, fit
from litelvlm.pipeline.planner.runs import MeasuredRun, Quality, Setting
from litelvlm.pipeline.settings import Flag, Settings

MEASURED = "measured"  # fitted to shards of this very setting
FITTED = "fitted"  # to shards of other budgets in the same layout


@dataclass(frozen=True, kw_only=True)
class Job(Settings):
    """What is to be annotated, apart from how."""

    section = "what is to be annotated"

    images: Annotated[int, Flag("images to annotate"), Ge(1)]
    phrases_per_image: Annotated[float, Flag("phrases of each, on average"), Gt(0)]
    megapixels_per_image: Annotated[float | None, Flag("of each, on average", unset="as in the runs"), Gt(0)] = None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One setting on the measured device.

    Attributes:
        load: the whole job's.
        stage_s: seconds by stage of the whole job, on one device, without start-up; `decode_cpu` is on other cores.
        basis: one of the two above; extrapolated: whether budget or job lie outside what was measured.
        quality: measured ones; empty where nobody measured it.
        warnings: what is outside the measured range, in words.
    """

    setting: Setting
    load: Load
    stage_s: dict[str, float]
    start_s: float
    basis: str
    extrapolated: bool
    quality: tuple[Quality, ...]
    warnings: tuple[str, ...]


class Forecaster:
    """Forecasts for a set of runs that share device and model."""

    def __init__(self, runs: Sequence[MeasuredRun]) -> None:
        self.runs = list(runs)
        layouts = dict.fromkeys(run.setting.layout for run in runs)
        self.models: dict[str, CostModel] = {
            layout: fit([item for run in self._with(layout) for item in run.observations]) for layout in layouts
        }

    @property
    def visual_tokens(self) -> int:
        """Of a prompt, before pruning."""
        return self.runs[0].visual_tokens

    def settings(self) -> list[Setting]:
        """Those that were measured."""
        found = {run.setting for run in self.runs}
        return sorted(found, key=lambda setting: (setting.layout, setting.tokens, setting.rule))

    def asked_settings(self, budgets: Sequence[int | None], layouts: Sequence[str]) -> list[Setting]:
        """Every budget (None: all tokens) in every layout; by default those of the runs.

        Raises UsageError for a budget that the model does not have and for a layout that no run had.
        """
        for layout in layouts:
            if layout not in self.models:
                had = ", ".join(self.models)
                raise UsageError(f"--layouts {layout}: the runs had {had}; give a run with it")
        if not budgets:
            return [setting for setting in self.settings() if not layouts or setting.layout in layouts]
        most = max(budget or 0 for budget in budgets)
        if most > self.visual_tokens:
            raise UsageError(f"--budgets {most}: the model has {self.visual_tokens} visual tokens")
        rule = next((run.setting.rule for run in self.runs if run.setting.pruned), UNPRUNED)
        asked = [
            Setting(layout=layout, rule=rule, tokens=budget)
            if budget and budget != self.visual_tokens and rule != UNPRUNED
            else self._unpruned(layout)
            for layout in layouts or self.models
            for budget in budgets
        ]
        return list(dict.fromkeys(asked))

    def forecast(self, job: Job, setting: Setting) -> Forecast:
        """Seconds and quality of a setting. Raises UsageError where the runs do not tell them."""
        model, basis = self.models[setting.layout], self._basis(setting)
        outside = self._outside(job, setting)
        load, warnings = self._load(job, setting), [*model.notes, *outside]
        quality = self._quality(setting)
        if not quality:
            warnings.append("its quality was not measured")
        return Forecast(
            setting=setting,
            load=load,
            stage_s=model.stage_seconds(load),
            start_s=model.start_s,
            basis=basis,
            extrapolated=bool(outside),
            quality=quality,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _with(self, layout: str) -> list[MeasuredRun]:
        return [run for run in self.runs if run.setting.layout == layout]

    def _unpruned(self, layout: str) -> Setting:
        return Setting(layout=layout, rule=UNPRUNED, tokens=self.visual_tokens)

    def _basis(self, setting: Setting) -> str:
        measured = {(run.setting.tokens, run.setting.pruned) for run in self._with(setting.layout)}
        if (setting.tokens, setting.pruned) in measured:
            return MEASURED
        budgets = {tokens for tokens, _ in measured}
        if len(budgets) < 2:
            raise UsageError(
                f"--budgets {setting.tokens}: the runs in layout {setting.layout} all kept {budgets.pop()} tokens, "
                "which does not tell what one more costs; give a run with another budget"
            )
        return FITTED

    def _load(self, job: Job, setting: Setting) -> Load:
        """The whole job's work, with text tokens and image sizes as in the runs."""
        phrases = job.images * job.phrases_per_image
        prompts = phrases if setting.layout == "separate" else float(job.images)
        loads = [item.load for run in self._with(setting.layout) for item in run.observations]
        per_phrase = sum(load.text_tokens for load in loads) / max(sum(load.phrases for load in loads), 1)
        megapixels = job.megapixels_per_image
        if megapixels is None:
            megapixels = sum(load.megapixels for load in loads) / sum(load.images for load in loads)
        return Load(
            images=job.images,
            phrases=phrases,
            prompts=prompts,
            retained_tokens=prompts * setting.tokens,
            text_tokens=phrases * per_phrase,
            megapixels=job.images * megapixels,
            pruned=setting.pruned,
        )

    def _outside(self, job: Job, setting: Setting) -> list[str]:
        """What lies outside the measured range, a sentence each."""
        ranges = self.models[setting.layout].ranges
        found = _beyond("phrases an image", job.phrases_per_image, ranges["phrases_per_image"])
        if job.megapixels_per_image is not None:
            found += _beyond("megapixels an image", job.megapixels_per_image, ranges["megapixels_per_image"])
        return found + _beyond("tokens", setting.tokens, ranges["tokens_per_prompt"])

    def _quality(self, setting: Setting) -> tuple[Quality, ...]:
        """Measured with this setting, the run with the most phrases for each kind; unpruned agrees with itself."""
        found = [quality for run in self.runs if run.setting == setting for quality in run.quality]
        if not setting.pruned:
            found += [quality for run in self._with(setting.layout) for quality in run.unpruned_quality]
            found.append(Quality(kind="agreement", value=1.0, phrases=0))
        best: dict[str, Quality] = {}
        for quality in found:
            if quality.kind not in best or quality.phrases > best[quality.kind].phrases:
                best[quality.kind] = quality
        return tuple(best.values())


def _beyond(what: str, value: float, measured: Range) -> list[str]:
    if measured.holds(value):
        return []
    return [f"extrapolated: {value:g} {what}, while the runs had {measured}"]
