"""Seconds and quality of one setting on the device that was measured: fitted where there are data, modelled where not.

Nothing is made up: a setting without data is reached from one with data through the needed operations of each stage
(`litelvlm.flops`) and says so, and every quantity outside what was measured becomes a warning in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litelvlm.config import GlammConfig
from litelvlm.flops import Workload, needed_flop
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.cost_model import CostModel, Load, Range, fit
from litelvlm.pipeline.planner.runs import UNPRUNED, MeasuredRun, Quality, Setting

MEASURED = "measured"  # fitted to shards of this very setting
MEASURED_RATIO = "measured ratio"  # another setting's fit, times what both took on the same images
INTERPOLATED = "interpolated"  # between measured budgets of the same layout
MODELLED = "modelled"  # another setting's fit, stage by stage in proportion to the needed operations


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be annotated, apart from how. `megapixels_per_image` None means as in the runs."""

    images: int
    phrases_per_image: float
    megapixels_per_image: float | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"--images is {self.images}; it must be at least 1")
        if not self.phrases_per_image > 0:
            raise ValueError(f"--phrases-per-image is {self.phrases_per_image}; it must be above 0")
        if self.megapixels_per_image is not None and not self.megapixels_per_image > 0:
            raise ValueError(f"--megapixels-per-image is {self.megapixels_per_image}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One setting on the measured device.

    Attributes:
        load: the whole job's.
        stage_s: seconds by stage of the whole job, on one device, without start-up; `decode_cpu` is on other cores.
        basis: one of the four above; extrapolated: whether the job lies outside what was measured.
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
    """Forecasts for a set of runs that share device and model.

    `load_config` gives the model's sizes; it is called only for what has to be modelled.
    """

    def __init__(self, runs: Sequence[MeasuredRun], load_config: Callable[[MeasuredRun], GlammConfig]) -> None:
        self.runs = list(runs)
        self.models: dict[str, CostModel] = {}
        for layout in dict.fromkeys(run.setting.layout for run in runs):
            shards = [item for run in runs if run.setting.layout == layout for item in run.observations]
            self.models[layout] = fit(shards)
        self._load_config = load_config
        self._config: GlammConfig | None = None

    @property
    def visual_tokens(self) -> int:
        """Of a prompt, before pruning."""
        return self.runs[0].visual_tokens

    def settings(self) -> list[Setting]:
        """Those that were measured, and unpruned where a run compared itself with that."""
        found = [run.setting for run in self.runs]
        found += [self._unpruned(run.setting.layout) for run in self.runs if run.comparison]
        return sorted(dict.fromkeys(found), key=lambda setting: (setting.layout, setting.tokens, setting.rule))

    def asked_settings(self, budgets: Sequence[int | None], layouts: Sequence[str]) -> list[Setting]:
        """Every budget (None: all tokens) in every layout; by default those of the runs.

        Raises UsageError for a budget that the model does not have.
        """
        layouts = layouts or list(self.models)
        if not budgets:
            own = [setting for setting in self.settings() if setting.layout in layouts]
            new = [layout for layout in layouts if layout not in self.models]
            rest = {dataclasses.replace(setting, layout=layout) for layout in new for setting in self.settings()}
            return own + sorted(rest, key=str)
        rule = next((run.setting.rule for run in self.runs if run.setting.pruned), None)
        settings = []
        for layout in layouts:
            for budget in budgets:
                if budget is not None and budget > self.visual_tokens:
                    raise UsageError(f"--budgets {budget}: the model has {self.visual_tokens} visual tokens")
                if budget is None or budget == self.visual_tokens or rule is None:
                    settings.append(self._unpruned(layout))
                else:
                    settings.append(Setting(layout=layout, rule=rule, tokens=budget))
        return list(dict.fromkeys(settings))

    def forecast(self, job: Job, setting: Setting) -> Forecast:
        """Seconds and quality of a setting. Raises UsageError where it can be had from nothing."""
        base, basis = self._base(setting)
        model = self.models[base.layout]
        base_load = self._load(job, base)
        stage_s = model.stage_seconds(base_load)
        outside = self._outside(job, base)
        load, warnings = base_load, [*model.notes, *outside]
        if basis == MEASURED_RATIO:
            ratio, images = self._ratio(setting.layout)
            load = self._load(job, setting)
            stage_s = {
                name: value * (1 if name in ("host", "idle", "decode_cpu") else ratio)
                for name, value in stage_s.items()
            }
            warnings.append(f"seconds are those of {base} times {ratio:.2f}, as measured on {images} images of a run")
        elif basis == MODELLED:
            load = self._load(job, setting)
            stage_s = self._scaled(stage_s, base_load, base, load, setting)
            warnings.append(
                f"not measured: seconds are modelled from those of {base}, by the operations that both need"
            )
        quality = self._quality(setting)
        if not quality:
            warnings.append("its quality was not measured")
        return Forecast(
            setting=setting,
            load=load,
            stage_s=stage_s,
            start_s=model.start_s,
            basis=basis,
            extrapolated=bool(outside),
            quality=quality,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _unpruned(self, layout: str) -> Setting:
        return Setting(layout=layout, rule=UNPRUNED, tokens=self.visual_tokens)

    def _base(self, setting: Setting) -> tuple[Setting, str]:
        """The setting whose fit serves, and how."""
        measured = [run.setting for run in self.runs if run.setting.layout == setting.layout]
        same = [item for item in measured if item.tokens == setting.tokens and item.pruned == setting.pruned]
        if same:
            return same[0], MEASURED
        if not setting.pruned and any(run.comparison for run in self.runs if run.setting.layout == setting.layout):
            return self._compared(setting.layout)[0].setting, MEASURED_RATIO
        budgets = [item.tokens for item in measured if item.pruned]
        if setting.pruned and budgets and min(budgets) < setting.tokens < max(item.tokens for item in measured):
            return setting, INTERPOLATED
        nearest = min(
            measured or [run.setting for run in self.runs], key=lambda item: abs(item.tokens - setting.tokens)
        )
        return nearest, MODELLED

    def _compared(self, layout: str) -> list[MeasuredRun]:
        """Runs that compared themselves with the unpruned model, that with the most tokens first: the nearest to it."""
        runs = [run for run in self.runs if run.comparison and run.setting.layout == layout]
        return sorted(runs, key=lambda run: -run.setting.tokens)

    def _ratio(self, layout: str) -> tuple[float, int]:
        """Unpruned over pruned seconds, of the runs with the setting of the first."""
        runs = self._compared(layout)
        found = [run.comparison for run in runs if run.setting == runs[0].setting and run.comparison]
        return sum(c.unpruned_s for c in found) / sum(c.pruned_s for c in found), sum(c.images for c in found)

    def _load(self, job: Job, setting: Setting) -> Load:
        """The whole job's work, with text tokens and image sizes as in the runs."""
        phrases = job.images * job.phrases_per_image
        prompts = phrases if setting.layout == "separate" else float(job.images)
        runs = [run for run in self.runs if run.setting.layout == setting.layout] or self.runs
        loads = [item.load for run in runs for item in run.observations]
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

    def _scaled(
        self, stage_s: dict[str, float], base_load: Load, base: Setting, load: Load, setting: Setting
    ) -> dict[str, float]:
        """Stages in proportion to the operations that they need; those without any as they are."""
        if self._config is None:
            self._config = self._load_config(self.runs[0])
        before = needed_flop(self._config, _workload(base_load, base))
        after = needed_flop(self._config, _workload(load, setting))
        factors = {name: after[name] / before[name] if before[name] else 1.0 for name in before}
        return {name: value * factors.get(name, 1.0) for name, value in stage_s.items()}

    def _outside(self, job: Job, base: Setting) -> list[str]:
        """What lies outside the measured range, a sentence each."""
        ranges = self.models[base.layout].ranges
        warnings = []
        if job.megapixels_per_image is not None:
            warnings += _beyond("megapixels an image", job.megapixels_per_image, ranges["megapixels_per_image"])
        return _beyond("phrases an image", job.phrases_per_image, ranges["phrases_per_image"]) + warnings

    def _quality(self, setting: Setting) -> tuple[Quality, ...]:
        """Measured with this setting, the run with the most phrases for each kind; unpruned agrees with itself."""
        if not setting.pruned:
            found = [quality for run in self.runs for quality in run.unpruned_quality if _same_layout(run, setting)]
            found += [quality for run in self.runs if run.setting == setting for quality in run.quality]
            found.append(Quality(kind="agreement", value=1.0, phrases=0))
        else:
            found = [quality for run in self.runs if run.setting == setting for quality in run.quality]
        best: dict[str, Quality] = {}
        for quality in found:
            if quality.kind not in best or quality.phrases > best[quality.kind].phrases:
                best[quality.kind] = quality
        return tuple(best.values())


def _same_layout(run: MeasuredRun, setting: Setting) -> bool:
    return run.setting.layout == setting.layout


def _beyond(what: str, value: float, measured: Range) -> list[str]:
    if measured.holds(value):
        return []
    return [f"extrapolated: {value:g} {what}, while the runs had {measured}"]


def _workload(load: Load, setting: Setting) -> Workload:
    return Workload(
        images=round(load.images),
        prompts=round(load.prompts),
        phrases=round(load.phrases),
        retained_tokens=round(load.retained_tokens),
        text_tokens=round(load.text_tokens),
        scored_texts=round(load.phrases) if setting.pruned else 0,
        shared=setting.layout == "shared",
    )
