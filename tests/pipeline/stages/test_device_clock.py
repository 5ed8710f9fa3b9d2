"""The time line of an actor's device, on a clock that the tests turn."""

from __future__ import annotations

import threading

import pytest

from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare


class Hands:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def turn(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clock(hands: Hands) -> DeviceClock:
    return DeviceClock(monotonic=hands, epoch=lambda: 5000.0)


def test_every_second_of_one_shard_after_the_other_has_its_place(clock: DeviceClock, hands: Hands) -> None:
    hands.turn(7)
    clock.ready()
    hands.turn(3)
    first, second = DeviceShare(clock), DeviceShare(clock)
    with clock.call():
        hands.turn(1)
        with first.hold("annotate"):
            hands.turn(10)
        hands.turn(2)
        first.settle()
    hands.turn(4)
    with clock.call():
        with second.hold("annotate"):
            hands.turn(20)
        hands.turn(0.5)
        with second.hold("baseline"):
            hands.turn(5)
        second.settle()
    assert first.seconds == {"startup": 7, "idle": 3, "host": 3, "annotate": 10}
    assert second.seconds == {"idle": 4, "annotate": 20, "host": 0.5, "baseline": 5}
    assert (first.started_at, first.ended_at) == (5000.0, 5023.0)
    assert (second.started_at, second.ended_at) == (5023.0, 5052.5)


def test_host_work_hidden_behind_another_shards_model_costs_nothing(clock: DeviceClock, hands: Hands) -> None:
    clock.ready()
    shown, hidden = DeviceShare(clock), DeviceShare(clock)
    with clock.call(), clock.call():
        with hidden.hold("annotate"):
            hands.turn(1)
        with shown.hold("annotate"):
            hands.turn(10)  # meanwhile the other encodes masks, and ends
            hidden.settle()
        hands.turn(2)
        shown.settle()
    assert hidden.seconds == {"annotate": 1, **_nothing(hidden)}
    assert shown.seconds == {"annotate": 10, "host": 2, **_nothing(shown)}


def test_a_call_that_raises_gives_the_device_back_and_keeps_its_seconds(clock: DeviceClock, hands: Hands) -> None:
    clock.ready()
    share, after = DeviceShare(clock), DeviceShare(clock)

    def fail() -> None:
        with clock.call(), share.hold("annotate"):
            hands.turn(6)
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    hands.turn(1)
    with clock.call(), after.hold("annotate"):
        hands.turn(2)
    assert share.seconds["annotate"] == 6
    assert (after.seconds["idle"], after.seconds["annotate"]) == (1, 2)


def test_threads_that_compete_lose_and_double_nothing() -> None:
    clock = DeviceClock()
    clock.ready()
    shares = [DeviceShare(clock) for _ in range(40)]
    ready = threading.Barrier(4)

    def work(mine: list[DeviceShare]) -> None:
        ready.wait()
        for share in mine:
            with clock.call():
                for _ in range(3):
                    with share.hold("annotate"):
                        sum(range(2000))
                    sum(range(1000))
                share.settle()

    threads = [threading.Thread(target=work, args=(shares[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = max(share.ended_at for share in shares) - min(share.started_at for share in shares)
    assert sum(sum(share.seconds.values()) for share in shares) == pytest.approx(wall_s, rel=1e-6, abs=1e-5)


def _nothing(share: DeviceShare) -> dict[str, float]:
    """Kinds of which the share has no second."""
    return {kind: seconds for kind, seconds in share.seconds.items() if seconds == 0}


def test_whoever_has_the_device_has_it_until_the_outermost_end(clock: DeviceClock, hands: Hands) -> None:
    clock.ready()
    share = DeviceShare(clock)
    with clock.call(), share.hold("annotate"):
        with share.hold("annotate"):
            hands.turn(2)
        assert clock.device.locked()
        hands.turn(3)
    assert not clock.device.locked()
    assert share.seconds["annotate"] == 5
