"""Ray: connecting to a cluster or starting one on this machine, quietly."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

import litelvlm
from litelvlm.pipeline.config import ClusterConfig, RunConfig
from litelvlm.pipeline.cpus import num_usable
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.signals import handlers_kept

NO_PROGRESS_TIMEOUT_S = 600
_MIN_LOCAL_CPUS = 4
_PACKAGE = Path(litelvlm.__file__).parent  # of a checkout or of an installed wheel
_LEFT_BEHIND = ["/demo", "/jobs"]  # of the package, what no worker imports


@contextlib.contextmanager
def ray_session(cluster: ClusterConfig) -> Iterator[None]:
    """A connection to Ray, closed afterwards unless it was there before.

    A given address, or `RAY_ADDRESS` (which `ray job submit` sets), means that cluster; else one is started here.
    """
    if ray.is_initialized():
        yield
        return
    address = _address(cluster)
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address:
        arguments: dict[str, Any] = {"address": address, "runtime_env": _remote_env()}
    else:
        num_cpus = cluster.num_cpus or max(_MIN_LOCAL_CPUS, num_usable())
        arguments = {"address": "local", "num_cpus": num_cpus, "include_dashboard": False}
    with _quiet_backend(), _project_on_path(), handlers_kept(), _mistakes(address):
        ray.init(**arguments, **common)
    try:
        yield
    finally:
        ray.shutdown()


def quiet_data_context() -> None:
    """Ray Data settings of a run: no bars, and patience while machines come and go."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S
    context.max_errored_blocks = 0  # a lost block would be a lost shard
    context.target_max_block_size = 1  # so that every row that a stage yields is a block of its own
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what a stage raises is shown by the job


def choose_device(config: RunConfig) -> str:
    """`cuda` or `cpu`: as asked, else by what the cluster has.

    Raises:
        UsageError: a GPU is asked of a machine that has none.
    """
    gpus = float(ray.cluster_resources().get("GPU", 0.0))
    asked = config.model.device
    if asked == "auto":
        return "cuda" if gpus >= config.cluster.gpus_per_actor else "cpu"
    if asked == "cuda" and gpus == 0 and not is_elsewhere(config.cluster):
        raise UsageError("--device cuda: this machine has no GPU that Ray can see; use --device cpu or a cluster")
    return asked


def max_decoders(cluster: ClusterConfig) -> int | None:
    """Most decode tasks at once: on this machine, one per real core, of which Ray may be told more; else no limit."""
    return None if is_elsewhere(cluster) else max(2, num_usable())


def is_elsewhere(cluster: ClusterConfig) -> bool:
    """Whether the cluster is none that this process starts on its machine."""
    return _address(cluster) is not None


def _address(cluster: ClusterConfig) -> str | None:
    return cluster.ray_address or os.environ.get("RAY_ADDRESS")


@contextlib.contextmanager
def _mistakes(address: str | None) -> Iterator[None]:
    """Raises UsageError where Ray cannot start or be reached for what the user said, or the environment."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        reason = " ".join(str(error).split())
        if not address:
            raise UsageError(f"Ray does not start: {reason}") from error
        given = f"--ray-address {address}" if os.environ.get("RAY_ADDRESS") != address else f"RAY_ADDRESS={address}"
        raise UsageError(f"{given}: no cluster to be used there: {reason}") from error
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        places = " or ".join(name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)) or "RAY_TMPDIR"
        raise UsageError(
            f"Ray's sockets lie below its temporary directory, and a path to one has 107 bytes at most: set {places} "
            f"to a short directory such as /tmp ({error})"
        ) from error


@contextlib.contextmanager
def _project_on_path() -> Iterator[None]:
    """A Ray that starts meanwhile lets its workers find the project, installed or run from a checkout.

    They have it from the node: with a runtime environment of their own, none could start ahead of its use.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE.parent), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextlib.contextmanager
def _quiet_backend() -> Iterator[None]:
    """Keep the log lines of Ray's C++ side off the terminal: those of starting, and all that are not fatal later."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _remote_env() -> dict[str, object]:
    """Under `ray job submit` the job's environment holds already; otherwise the package is sent along."""
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return {}
    return {"py_modules": [str(_PACKAGE)], "excludes": _LEFT_BEHIND}
