"""What a call to the model is asked and what it took."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.timed_model import Asked, TimedModel, cuda_device, device_name
from tests.fakes import FakeAnnotator, FakeDevice, FakeEngine
from tests.pipeline.stages.shard_work import image_work


class SlowEngine(FakeEngine):
    """Every call takes 3 s, 2 of them in the language model, on a clock of its own."""

    now = 0.0
    asked: list[tuple[list[list[str]], bool]]

    def annotate(
        self, annotator: FakeAnnotator, images: list[np.ndarray], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]:
        SlowEngine.asked.append((phrases, unpruned))
        SlowEngine.now += 3.0
        annotator.stage_seconds["llm"] += 2.0
        return super().annotate(annotator, images, phrases, unpruned=unpruned)


@pytest.fixture
def model() -> TimedModel:
    SlowEngine.now, SlowEngine.asked = 0.0, []
    clock = DeviceClock(monotonic=lambda: SlowEngine.now)
    clock.ready()
    return TimedModel(SlowEngine(), FakeAnnotator(), DeviceShare(clock))


def asked(*phrases: str) -> Asked:
    image = image_work(0, *phrases)
    return Asked(image=image, drafts=image.drafts)


def test_a_call_holds_the_device_and_its_seconds_are_its_own(model: TimedModel) -> None:
    for _ in range(2):
        call = model.call([asked("a dog", "a cat")])
        assert (call.seconds, call.stage_seconds["llm"], call.stage_seconds["clip"]) == (3.0, 2.0, 0.0)
        assert call.peak_bytes is None
    assert model.device.seconds["annotate"] == 6.0
    assert SlowEngine.asked == [([["a dog", "a cat"]], False)] * 2


class AheadEngine(SlowEngine):
    """Begins a call before the one before it is out."""

    log: list[str]

    def annotate_each(self, annotator: FakeAnnotator, calls: Any) -> Any:
        before = None
        for number, (images, phrases) in enumerate(calls):
            AheadEngine.log.append(f"begun {number}")
            results = self.annotate(annotator, images, phrases)
            if before is not None:
                yield before
            before = results
        yield before


@pytest.fixture
def ahead() -> TimedModel:
    SlowEngine.now, SlowEngine.asked, AheadEngine.log = 0.0, [], []
    clock = DeviceClock(monotonic=lambda: SlowEngine.now)
    clock.ready()
    return TimedModel(AheadEngine(), FakeAnnotator(FakeDevice("cuda")), DeviceShare(clock))


def test_a_gpu_is_held_over_calls_each_begun_before_the_one_before_it_is_out(ahead: TimedModel) -> None:
    seconds, llm_s = [], []
    for number, call in enumerate(ahead.each([[asked("a dog")], [asked("a cat")], [asked("an owl")]])):
        AheadEngine.log.append(f"out {number}")
        assert call.results[0].num_prompts == len(SlowEngine.asked[number][0][0])
        seconds.append(call.seconds)
        llm_s.append(call.stage_seconds["llm"])
    assert AheadEngine.log == ["begun 0", "begun 1", "out 0", "begun 2", "out 1", "out 2"]
    assert (seconds, llm_s) == ([6.0, 3.0, 0.0], [4.0, 2.0, 0.0])  # each second once
    assert ahead.device.seconds["annotate"] == 9.0


def test_on_a_cpu_each_call_holds_the_device_by_itself(model: TimedModel) -> None:
    for number, call in enumerate(model.each([[asked("a dog")], [asked("a cat")]]), start=1):
        assert (call.seconds, len(SlowEngine.asked)) == (3.0, number)
        with DeviceShare(model.device._clock).hold("baseline"):  # nobody waits for the next call
            SlowEngine.now += 1.0
    assert model.device.seconds["annotate"] == 6.0


def test_a_reader_that_stops_gives_the_device_back(ahead: TimedModel) -> None:
    calls = ahead.each([[asked("a dog")], [asked("a cat")]])
    next(calls)
    calls.close()
    with DeviceShare(ahead.device._clock).hold("baseline"):
        pass


def test_on_a_device_that_is_held_the_seconds_are_the_holders(model: TimedModel) -> None:
    with model.device.hold("baseline"):
        model.run([asked("a dog")], unpruned=True, memory=True)
    assert model.device.seconds["baseline"] == 3.0
    assert "annotate" not in model.device.seconds
    assert SlowEngine.asked == [([["a dog"]], True)]


def test_one_phrase_may_stand_for_every_other(model: TimedModel) -> None:
    call = model.run([asked("a dog", "a cat"), asked("a box")], phrase="object")
    assert SlowEngine.asked == [([["object", "object"], ["object"]], False)]
    assert [result.phrases for result in call.results] == [["object", "object"], ["object"]]  # type: ignore[attr-defined]


def test_an_image_without_pixels_is_not_asked(model: TimedModel) -> None:
    one = asked("a dog")
    one.image.fail("gone")
    with pytest.raises(AssertionError, match="without pixels"):
        model.call([one])


def test_a_cpu_has_no_memory_of_its_own() -> None:
    annotator = FakeAnnotator()
    assert (cuda_device(annotator), device_name(annotator)) == (None, "cpu")
    annotator.device = FakeDevice("cuda")
    assert cuda_device(annotator) == FakeDevice("cuda")  # type: ignore[comparison-overlap]
