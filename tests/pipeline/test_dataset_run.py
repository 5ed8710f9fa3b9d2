"""The loop of a run: claim, execute what is left, again after a cluster's failure, never for ever."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import NodeDiedError

from litelvlm.pipeline.dataset_run import DatasetRun
from litelvlm.pipeline.errors import Interrupted, NodeError, RunError, StageError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.footing import Footing, Node, StageCpus
from litelvlm.pipeline.output.finalize import mark_finished
from litelvlm.pipeline.schemas import SHARD_SCHEMA
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.markers import Marker, create_marker, write_data
from litelvlm.pipeline.shards.payload import ShardTask
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.samples import row, run_config, write_table

Step = list[int] | Exception  # shards that an execution commits, by number, or its failure after the first left one


def done(storage: Storage, shard: Shard) -> Marker:
    data = write_data(storage, shard.shard_id, [], SHARD_SCHEMA)
    marker = Marker(shard_id=shard.shard_id, index=shard.index, rows=shard.num_rows, failed=0, data=data)
    return create_marker(storage, marker)


class PlayedRun(DatasetRun[FakeEngine, Marker]):
    """A run whose executions go as they are told."""

    marker = Marker
    advice = "; go home"

    def __init__(self, config: Any, *steps: Any, **given: Any) -> None:
        super().__init__(config, FakeEngine(), stream=io.StringIO(), **given)
        self.steps, self.todo = list(steps), -1
        self.looked = 0
        self.counted: list[Any] = []
        self.new: list[Any] = []

    def make_plan(self) -> RunPlan:
        return make_plan(self.config, revision="r")

    def begin(self, todo: list[Shard]) -> None:
        self.todo = len(todo)

    def session(self, todo: list[Shard]) -> Any:
        return nullcontext()

    def count(self, marker: Marker) -> None:
        self.counted.append(marker.index)

    def committed(self, marker: Marker) -> None:
        self.new.append(marker.index)

    def finish(self) -> int:
        mark_finished(self.storage, self.plan)
        return EXIT_DONE

    def preflight(self) -> Footing:
        self.looked += 1
        return Footing(device="cpu", cpus=StageCpus())

    def _execution(self) -> Any:
        return self

    def run(self, *shards: Any) -> Any:
        return self._played(*shards) if shards else super().run()

    def _played(self, todo: list[Shard]) -> Iterator[Marker]:
        step = self.steps.pop(0)
        for number in step[:-1] if isinstance(step[-1], BaseException) else step:
            yield done(self.storage, self.plan.shards[number])
        if isinstance(step[-1], BaseException):
            raise step[-1]

    def actor(self, engine: FakeEngine, session: str, num_threads: int) -> tuple[type, tuple[Any, ...]]:
        raise AssertionError("no Ray here")

    def commit_stage(self) -> Any:
        raise AssertionError("no Ray here")

    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask:
        raise AssertionError("no Ray here")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litelvlm.pipeline.cluster.ray_session", lambda cluster: nullcontext())
    monkeypatch.setattr("litelvlm.pipeline.heartbeat.standing", lambda num_actors: "waiting")


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return run_config(write_table(tmp_path / "in.parquet", [row(number) for number in range(20)]), tmp_path / "out")


LOST = NodeDiedError("a node died\nwith details")


def test_a_run_executes_all_of_its_shards_and_a_second_one_nothing(config: Any) -> None:
    run = PlayedRun(config, [0, 1, 2])
    assert run.run() == EXIT_DONE
    assert (run.todo, run.counted, run.new, run.num_left, run.executions) == (3, [0, 1, 2], [0, 1, 2], 0, 1)
    again = PlayedRun(config)
    assert again.run() == EXIT_DONE
    assert "is complete: 20 rows; nothing to do; go home" in again.stream.getvalue()


def test_a_resumed_run_counts_what_is_done_and_executes_the_rest(config: Any) -> None:
    with pytest.raises(StageError):
        PlayedRun(config, [1, StageError("broken")]).run()
    run = PlayedRun(config, [0, 2])
    assert run.run() == EXIT_DONE
    assert (run.todo, run.counted, run.new) == (2, [1, 0, 2], [0, 2])


def test_what_a_failing_cluster_left_out_is_executed_again(config: Any) -> None:
    run = PlayedRun(config, [0, LOST], [LOST], [1, LOST], [LOST], [LOST], [2])
    assert run.run() == EXIT_DONE
    assert run.counted == [0, 1, 2]
    assert run.executions == 6
    assert "2 shards are left (NodeDiedError: " in run.stream.getvalue()
    assert "with details" not in run.stream.getvalue()


def test_three_executions_in_a_row_that_commit_nothing_end_it(config: Any) -> None:
    run = PlayedRun(config, [0, LOST], [LOST], [LOST], [LOST], [1, 2])
    with pytest.raises(RunError, match="3 executions in a row committed nothing; the last ended with NodeDiedError"):
        run.run()
    assert len(run.steps) == 1


def test_a_node_that_cannot_hold_the_model_is_left_out_while_there_are_others(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node(node_id=name, address=name, cpus=4.0, gpus=0.0) for name in "abcde"]
    monkeypatch.setattr("litelvlm.pipeline.preflight.nodes_of_cluster", lambda: nodes)
    bad = [NodeError(f"node {name}: loading the model: no such file", name) for name in "abcde"]
    run = PlayedRun(config, [bad[0]], [bad[1]], [bad[2]], [bad[3]], [0, 1, 2])
    assert run.run() == EXIT_DONE
    assert run.footing is not None
    assert run.footing.left_out == ("a", "b", "c", "d")
    assert "3 shards are left (node d: loading the model: no such file); going on with them" in run.stream.getvalue()
    Path(config.output, "_SUCCESS").unlink()
    for marker in Path(config.output, "_done").iterdir():
        marker.unlink()
    with pytest.raises(NodeError, match="node e: "):
        PlayedRun(config, *([error] for error in bad)).run()


def test_a_marker_that_comes_twice_counts_once(config: Any) -> None:
    run = PlayedRun(config, [0, 0, 1, LOST], [1, 2])
    assert run.run() == EXIT_DONE
    assert (run.counted, run.new) == ([0, 1, 2], [0, 1, 2])


def test_an_output_is_claimed_only_after_a_look_at_the_cluster(config: Any, tmp_path: Path) -> None:
    class Unfit(PlayedRun):
        def preflight(self) -> Footing:
            raise UsageError("no GPU")

    with pytest.raises(UsageError, match="no GPU"):
        Unfit(config).run()
    assert not list((tmp_path / "out").iterdir())


def test_a_model_that_does_not_fit_gives_up_its_claim_but_never_committed_work(config: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other shapes"):
        PlayedRun(config, [UsageError("other shapes")]).run()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    with pytest.raises(UsageError, match="other shapes"):
        PlayedRun(config, [0, UsageError("other shapes")]).run()
    assert (tmp_path / "out/config.json").exists()


def test_a_run_that_has_only_to_be_merged_looks_at_no_cluster(config: Any) -> None:
    class Halting(PlayedRun):
        def finish(self) -> int:
            raise StageError("killed while merging")

    with pytest.raises(StageError):
        Halting(config, [0, 1, 2]).run()
    run = PlayedRun(config)
    assert run.run() == EXIT_DONE
    assert run.looked == 0


def test_a_signal_is_told_with_what_is_committed(config: Any) -> None:
    run = PlayedRun(config, [0, Interrupted(signal.SIGTERM)])
    with pytest.raises(Interrupted) as caught:
        run.run()
    assert "terminated: 1 of 3 shards are committed; run again to resume" in run.stream.getvalue()
    assert (caught.value.told, caught.value.exit_code) == (True, 143)


def test_mistakes_are_told_as_such_before_anything_runs(config: Any, tmp_path: Path) -> None:
    for wrong, message in (
        (run_config(str(tmp_path / "gone.parquet"), tmp_path / "out"), "no such path"),
        (run_config(config.source.input[0], tmp_path / "out", image_column="picture"), "--image-column picture"),
    ):
        with pytest.raises(UsageError, match=message):
            PlayedRun(wrong).run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("inputs", "prefixes", "local"),
    [
        (["/data/in.parquet"], (), True),
        (["s3://bucket/in/*.parquet"], ("s3://bucket/",), False),
        (
            ["/data/in.parquet", "s3://bucket/a", "s3://other/c"],
            ("s3://bucket/", "s3://other/"),
            False,
        ),
    ],
)
def test_one_remote_table_takes_the_local_disk_from_all(
    inputs: list[str], prefixes: tuple[str, ...], *, local: bool
) -> None:
    policy = uri_policy(run_config(inputs, "out"))
    assert (policy.allowed_prefixes, policy.manifest_is_local) == (prefixes, local)
