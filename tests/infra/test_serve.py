"""The service on KubeRay: its config is the one for `serve deploy`, which Serve takes; pods have what it needs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from litelvlm.pipeline.serving.config import TOKEN_VARIABLE, LimitConfig, ServeConfig
from litelvlm.pipeline.serving.deployment import APP_NAME
from tests.infra.deployment import IMAGE_NAME, INFRA, dockerfile, document, documents, pins, project, values_of

CONFIG = document("serve/serve.yaml")
SERVICE = document("serve/rayservice.yaml")
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
WORKERS = CLUSTER["workerGroupSpecs"][0]
PODS = {"head": CLUSTER["headGroupSpec"]["template"]["spec"], "worker": WORKERS["template"]["spec"]}
UNITS = {"Mi": 2**20, "Gi": 2**30}


def amount(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * UNITS[unit]


def only(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return container


def test_the_manifest_holds_the_config_as_it_is() -> None:
    assert (SERVICE["apiVersion"], SERVICE["kind"]) == ("ray.io/v1", "RayService")
    assert yaml.safe_load(SERVICE["spec"]["serveConfigV2"]) == CONFIG


def test_serve_and_the_service_take_the_config() -> None:
    (application,) = ServeDeploySchema.model_validate(CONFIG).applications
    assert (application.name, application.route_prefix) == (APP_NAME, "/")
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    config = ServeConfig.from_flat({"host": CONFIG["http_options"]["host"], **application.args})
    assert config.num_replicas * config.gpus_per_replica == WORKERS["replicas"]


def test_versions_and_the_image_are_the_project_s() -> None:
    ray = pins()["ray"]
    assert set(values_of(SERVICE, "image")) == {f"{IMAGE_NAME}:{project()['version']}-ray{ray}"}
    assert CLUSTER["rayVersion"] == ray
    assert any(item.name == "ARG" and item.value == 'EXTRAS="serve"' for item in dockerfile())


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_are_found_at_the_port_of_the_config_and_are_not_root(name: Any) -> None:
    container = only(PODS[name])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["serve"] == CONFIG["http_options"]["port"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert PODS[name]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_have_the_model_the_token_and_room_for_the_object_store(name: Any) -> None:
    pod, container = PODS[name], only(PODS[name])
    (secret,) = documents(INFRA / "kuberay/secret.example.yaml")
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert secret["stringData"][TOKEN_VARIABLE] == ""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    claim = document("kuberay/models.yaml", "PersistentVolumeClaim")["metadata"]["name"]
    assert mounts["/models"]["persistentVolumeClaim"]["claimName"] == claim
    assert CONFIG["applications"][0]["args"]["model"].startswith("/models/")
    group = CLUSTER["headGroupSpec"] if name == "head" else WORKERS
    limit = amount(mounts["/dev/shm"]["emptyDir"]["sizeLimit"])
    assert (
        int(group["rayStartParams"]["object-store-memory"])
        < limit
        <= amount(container["resources"]["limits"]["memory"]) / 2
    )


def test_a_worker_may_drain_before_it_is_ended() -> None:
    assert PODS["worker"]["terminationGracePeriodSeconds"] > LimitConfig().drain_seconds
