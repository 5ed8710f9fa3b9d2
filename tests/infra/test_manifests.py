"""KubeRay, Prometheus and `ray up`: versions agree, volumes and secrets exist, and what must go together does."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import pytest
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.deployment import (
    GUIDE,
    IMAGE_NAME,
    INFRA,
    MANIFESTS,
    build_arguments,
    document,
    documents,
    image_environment,
    pins,
    project,
    values_of,
)

UNITS = {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30}
RAYJOB = document("kuberay/rayjob.yaml")
CLUSTER = RAYJOB["spec"]["rayClusterSpec"]
GROUPS = {"head": CLUSTER["headGroupSpec"], "worker": CLUSTER["workerGroupSpecs"][0]}
CONVERT = document("kuberay/models.yaml", "Job")
PODS = {name: group["template"]["spec"] for name, group in GROUPS.items()} | {
    "convert": CONVERT["spec"]["template"]["spec"]
}


def amount(quantity: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(quantity)).groups()
    return float(number) * UNITS[unit]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


def mounts(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Mount path to volume."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container(pod)["volumeMounts"]}


@pytest.mark.parametrize("path", sorted(INFRA.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_file_holds_mappings(path: Any) -> None:
    found = documents(path)
    assert found
    assert all(isinstance(item, dict) for item in found)


def test_versions_agree_everywhere() -> None:
    ray, python = pins()["ray"], Version(build_arguments()["PYTHON_VERSION"])
    tag = f"{IMAGE_NAME}:{project()['version']}-ray{ray}"
    trees = [tree for path in MANIFESTS for tree in documents(path)]
    images = values_of(trees, "image")
    assert len(images) == 4
    assert set(images) == {tag}
    assert CLUSTER["rayVersion"] == ray
    guide = GUIDE.read_text()
    assert set(re.findall(rf"{re.escape(IMAGE_NAME)}:[\w.-]+", guide)) == {tag}
    assert set(re.findall(r"\bRay \(?(\d+\.\d+\.\d+)", guide)) == {ray}
    assert set(re.findall(r"\bPython \(?(3\.\d+)", guide)) == {f"{python.major}.{python.minor}"}


def test_a_failed_run_is_repeated_and_a_finished_cluster_goes_away() -> None:
    spec = RAYJOB["spec"]
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["backoffLimit"] >= 1
    assert spec["submissionMode"] == "K8sJobMode"  # the only one with retries of the submitter besides
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_workers_come_on_demand_and_the_head_takes_no_work() -> None:
    head, worker = GROUPS["head"], GROUPS["worker"]
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert worker["minReplicas"] == worker["replicas"] == 0 < worker["maxReplicas"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    assert "nvidia.com/gpu" not in container(PODS["head"])["resources"]["limits"]
    limits = container(PODS["worker"])["resources"]["limits"]
    assert int(limits["nvidia.com/gpu"]) >= 1
    assert all(isinstance(value, str) for group in GROUPS.values() for value in group["rayStartParams"].values())


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pod(name: Any) -> None:
    shared = mounts(PODS[name])["/dev/shm"]["emptyDir"]
    assert shared["medium"] == "Memory"
    store = int(GROUPS[name]["rayStartParams"]["object-store-memory"])
    limit = amount(container(PODS[name])["resources"]["limits"]["memory"])
    assert store < amount(shared["sizeLimit"]) <= limit / 2


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_get_what_they_ask_for_and_are_not_root(name: Any) -> None:
    resources = container(PODS[name])["resources"]
    assert resources["requests"] == resources["limits"]
    security = PODS[name]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["fsGroup"] == 1000


@pytest.mark.parametrize("name", sorted(PODS))
def test_volumes_and_secrets_exist_and_no_secret_is_written_down(name: Any) -> None:
    secret = document("kuberay/secret.example.yaml")
    assert [source["secretRef"]["name"] for source in container(PODS[name])["envFrom"]] == [secret["metadata"]["name"]]
    assert not any(value for key, value in secret["stringData"].items() if "KEY" in key or "TOKEN" in key)
    claim = document("kuberay/models.yaml", "PersistentVolumeClaim")
    found = mounts(PODS[name])
    assert found["/models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    environment = {item["name"]: item["value"] for item in container(PODS[name]).get("env", [])}
    cache = (image_environment() | environment)["HF_HOME"]
    assert any(cache.startswith(f"{path}/") for path in found)


def test_a_worker_drains_within_its_grace_period() -> None:
    hook = container(PODS["worker"])["lifecycle"]["preStop"]["exec"]["command"][-1]
    waits = [int(seconds) for seconds in re.findall(r"(?:timeout|sleep) (\d+)", hook)]
    deadline = int(re.search(r"--deadline-remaining-seconds (\d+)", hook)[1])
    assert len(waits) == 2
    assert waits[-1] <= deadline
    assert sum(waits) < PODS["worker"]["terminationGracePeriodSeconds"]


def test_prometheus_scrapes_the_port_that_the_pods_name() -> None:
    monitor = document("kuberay/pod_monitor.yaml")
    assert monitor["spec"]["selector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for name in GROUPS:
        ports = {port["name"]: port["containerPort"] for port in container(PODS[name])["ports"]}
        assert ports[endpoint["port"]] == 8080


def test_a_conversion_with_bad_usage_is_not_repeated() -> None:
    (rule,) = CONVERT["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": container(PODS["convert"])["name"], "operator": "In", "values": [2]}
    assert PODS["convert"]["restartPolicy"] == "Never"


def test_ray_takes_the_cluster_file() -> None:
    config = document("ray-up/aws.yaml")
    validate_config(prepare_config(copy.deepcopy(config)))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(copy.deepcopy(config) | {"idle_timeout": 5}))


def test_rented_machines_are_what_ray_is_told_they_are() -> None:
    config = document("ray-up/aws.yaml")
    types = config["available_node_types"]
    head, gpu = types[config["head_node_type"]], types["gpu"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert gpu["resources"] == {"CPU": 8, "GPU": 1}
    assert gpu["node_config"]["InstanceType"] == "g6e.2xlarge"
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])
    assert all(kind["node_config"]["IamInstanceProfile"] for kind in types.values())
    cache = image_environment()["HF_HOME"]
    volumes = [option.split()[1].split(":") for option in config["docker"]["run_options"] if option.startswith("-v")]
    assert any(cache.startswith(f"{inside}/") for _, inside in volumes)
    assert [f"mkdir -p {outside}" for outside, _ in volumes] == config["initialization_commands"]
