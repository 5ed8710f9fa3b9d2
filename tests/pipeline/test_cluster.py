"""Connecting to Ray: a cluster that is named, else one on this machine; and the device that a run uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

import litelvlm
from litelvlm.pipeline import cluster
from litelvlm.pipeline.config import ClusterConfig
from litelvlm.pipeline.errors import UsageError
from tests.pipeline.samples import run_config


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray was started with; an empty dict marks that it was shut down."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **arguments: calls.append(arguments | {"path": os.environ["PYTHONPATH"]}))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append({}))
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_without_an_address_ray_is_started_here_and_ended(started: list[dict[str, Any]]) -> None:
    with pytest.raises(KeyError), cluster.ray_session(ClusterConfig(num_cpus=6)):
        raise KeyError
    arguments, ended = started
    assert ended == {}
    assert (arguments["address"], arguments["num_cpus"]) == ("local", 6)
    assert Path(arguments["path"].split(os.pathsep)[0], "litelvlm/__init__.py").samefile(litelvlm.__file__ or "")
    assert "PYTHONPATH" not in os.environ


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_named_cluster_gets_the_package_unless_a_job_brings_it(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, *, by_variable: bool
) -> None:
    if by_variable:
        monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    config = ClusterConfig() if by_variable else ClusterConfig(ray_address="ray://head:10001")
    with cluster.ray_session(config):
        pass
    assert started[0]["address"] == "ray://head:10001"
    assert [Path(path).name for path in started[0]["runtime_env"]["py_modules"]] == ["litelvlm"]
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with cluster.ray_session(config):
        pass
    assert started[2]["runtime_env"] == {}


def test_a_ray_that_runs_already_is_left_alone(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with cluster.ray_session(ClusterConfig()):
        pass
    assert started == []


def test_stderr_is_back_even_if_ray_does_not_start(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: Any) -> None:
        os.write(2, b"noise of the backend\n")
        raise RuntimeError("a bug")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(RuntimeError), cluster.ray_session(ClusterConfig()):
        pass
    print("heard", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "heard\n"


@pytest.mark.parametrize(
    ("error", "address", "line"),
    [
        (ValueError("Invalid Ray address: 'http://h:8265'."), "http://h:8265", "RAY_ADDRESS=http://h:8265: no clu"),
        (ConnectionError("None\nfound"), "auto", "RAY_ADDRESS=auto: no cluster to be used there: None found"),
        (ValueError("num_cpus"), "", "Ray does not start: num_cpus"),
        (OSError("validate_socket_filename failed: AF_UNIX path length"), "", "set RAY_TMPDIR to a short directory"),
    ],
)  # fmt: skip
def test_what_the_environment_says_wrong_is_bad_usage_in_one_line(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, error: Exception, address: str, line: str
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setenv("RAY_TMPDIR", "/" + "long/" * 30)
    monkeypatch.delenv("TMPDIR", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError) as caught, cluster.ray_session(ClusterConfig()):
        pass
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_faults_of_the_machine_are_none_of_the_user(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(OSError, match="No space"), cluster.ray_session(ClusterConfig()):
        pass


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 0.0, "cpu"), ("auto", 2.0, "cuda"), ("auto", 0.5, "cpu"), ("cpu", 2.0, "cpu"), ("cuda", 1.0, "cuda")],
)
def test_the_device_is_the_asked_one_or_what_there_is(
    monkeypatch: pytest.MonkeyPatch, asked: str, gpus: float, device: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": gpus, "CPU": 4.0})
    assert cluster.choose_device(run_config("in.parquet", "out", device=asked)) == device


def test_a_gpu_that_this_machine_lacks_is_a_mistake_but_a_cluster_may_grow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(UsageError, match="--device cuda: this machine has no GPU that Ray can see; use --device cpu"):
        cluster.choose_device(run_config("in.parquet", "out", device="cuda"))
    grows = run_config("in.parquet", "out", device="cuda", ray_address="auto")
    assert cluster.choose_device(grows) == "cuda"


def test_decoders_are_limited_on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "num_usable", lambda: 6)
    assert cluster.max_decoders(ClusterConfig()) == 6
    assert cluster.max_decoders(ClusterConfig(ray_address="auto")) is None
    monkeypatch.setattr(cluster, "num_usable", lambda: 1)
    assert cluster.max_decoders(ClusterConfig()) == 2
