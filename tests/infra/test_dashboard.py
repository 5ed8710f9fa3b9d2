"""The Grafana dashboard: every part is one that Grafana's schema knows, every query one that this project answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from litelvlm.pipeline.measure.prometheus import ACTOR_METRICS, DRIVER_METRICS
from litelvlm.pipeline.schemas import HELD_KINDS, MODEL_STAGES, STATUSES, TASK_STAGES
from tests.conftest import ROOT

GRAFANA = ROOT / "infra/grafana"
METRICS = {f"ray_{metric.name}": metric for metric in (*DRIVER_METRICS, *ACTOR_METRICS)}
TAG_VALUES = {
    "status": set(STATUSES),
    "kind": set(HELD_KINDS),
    "stage": {*TASK_STAGES, *MODEL_STAGES, "wait", "encode", "commit"},
    "state": {"in", "kept"},
    "direction": {"read", "written"},
}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((GRAFANA / "dashboards/annotate.json").read_text())


def test_grafanas_own_types_hold_all_of_it(dashboard: dict[str, Any]) -> None:
    register_default_plugins()
    held = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    assert list(_missing(dashboard, held, "dashboard")) == []


def test_panels_have_a_place_of_their_own_and_a_source(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_every_query_asks_for_metrics_and_tags_that_the_code_registers(dashboard: dict[str, Any]) -> None:
    asked = set()
    for query in _queries(dashboard):
        tree = promql_parser.parse(query.replace("$__rate_interval", "1m"))
        for selector in _selectors(tree):
            assert selector.name in METRICS, query
            asked.add(selector.name)
            for matcher in selector.matchers.matchers:
                assert matcher.name in ("run", METRICS[selector.name].tag), query
                assert matcher.name == "run" or matcher.value in TAG_VALUES[matcher.name], query
    assert asked == set(METRICS), "a metric that nobody sees"


def test_legends_name_tags_that_are_grouped_by(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            if "{{" in target["legendFormat"]:
                tag = target["legendFormat"].strip("{}")
                assert f"by ({tag})" in target["expr"]


def test_runs_are_chosen_by_the_tag_that_tells_them_apart(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["run"]["query"] == "label_values(ray_litelvlm_shards_left, run)"
    assert all('run=~"$run"' in query for query in _queries(dashboard))


def test_what_grafana_is_provisioned_with_fits_the_dashboard(dashboard: dict[str, Any]) -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["type"] == dashboard["panels"][0]["datasource"]["type"] == "prometheus"
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/annotate.yaml").read_text())["providers"][0]
    assert provider["type"] == "file"
    described = (GRAFANA / "README.md").read_text()
    for variable in (source["url"], provider["options"]["path"]):
        assert variable.removeprefix("$") in described


def _queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def _selectors(tree: Any) -> Iterator[promql_parser.VectorSelector]:
    """All metrics that a query names."""
    if isinstance(tree, promql_parser.VectorSelector):
        yield tree
    elif isinstance(tree, promql_parser.MatrixSelector):
        yield tree.vector_selector
    elif isinstance(tree, promql_parser.BinaryExpr):
        yield from _selectors(tree.lhs)
        yield from _selectors(tree.rhs)
    elif isinstance(tree, promql_parser.Call):
        for argument in tree.args:
            yield from _selectors(argument)
    elif isinstance(tree, promql_parser.AggregateExpr | promql_parser.ParenExpr):
        yield from _selectors(tree.expr)


def _missing(given: Any, held: Any, path: str) -> Iterator[str]:
    """Where `given` says something that `held` does not."""
    if isinstance(given, dict) and isinstance(held, dict):
        for key, value in given.items():
            if value is not None:
                yield from _missing(value, held.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(held, list) and len(given) == len(held):
        for index, (one, other) in enumerate(zip(given, held, strict=True)):
            yield from _missing(one, other, f"{path}[{index}]")
    elif given != held:
        yield f"{path}: {given!r} became {held!r}"
