"""Settings: where they come from, what is refused, what decides a fingerprint."""

from __future__ import annotations

import dataclasses
import operator
import re
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.config import (
    ClusterConfig,
    InputConfig,
    RunConfig,
    describe_differences,
    fingerprint,
    fingerprint_facts,
    load_yaml,
    parse_storage_options,
    redacted,
)
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.settings import flat

BASE = {"input": ("in.parquet",), "output": "out"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": ()}, "--input is missing"),
        ({"output": ""}, "--output is missing"),
        ({"num_retain_tokens": 0}, "--num-retain-tokens is 0"),
        ({"shard_images": 0}, "--shard-images is 0"),
        ({"limit": 0}, "--limit is 0"),
        ({"sample": 1.5}, "--sample is 1.5"),
        ({"sample": 0.0}, "--sample is 0.0"),
        ({"max_failure_rate": 2.0}, "--max-failure-rate is 2.0"),
        ({"layout": "spiral"}, "--layout is 'spiral'"),
        ({"device": "tpu"}, "--device is 'tpu'"),
        ({"precision": "fp4"}, "--precision is 'fp4'"),
        ({"precision": "fp8", "device": "cpu"}, "--precision fp8 needs a GPU"),
        ({"question": "where?"}, "--question does not contain {phrase}"),
        ({"answer": "there"}, r"--answer does not contain \[SEG\]"),
        ({"num_actors": (4, 2)}, "--num-actors is 4,2"),
        ({"gpus_per_actor": 0.0}, "--gpus-per-actor"),
        ({"num_cpus": 1}, "--num-cpus"),
        ({"gpu_price": -1.0}, "--gpu-price"),
        ({"colour": "red"}, "unknown setting colour"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.from_flat(BASE | settings)


@pytest.mark.parametrize(("given", "expected"), [("4", (4, 4)), ("2,16", (2, 16)), (3, (3, 3)), ([1, 2], (1, 2))])
def test_actors_are_a_number_or_a_range(given: Any, expected: Any) -> None:
    assert ClusterConfig(num_actors=given).num_actors == expected


@pytest.mark.parametrize("given", ["", "a", "1,2,3", None])
def test_other_actors_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="--num-actors"):
        ClusterConfig(num_actors=given)


TABLE = [
    ({"overwrite": "false"}, "overwrite", False),
    ({"overwrite": "no"}, "overwrite", False),
    ({"overwrite": "False"}, "overwrite", False),
    ({"overwrite": "yes"}, "overwrite", True),
    ({"max_pixels": "1e8"}, "source.max_pixels", 100_000_000),
    ({"max_pixels": 1e8}, "source.max_pixels", 100_000_000),
    ({"sample": "1e-1"}, "source.sample", 0.1),
    ({"sample": 1}, "source.sample", 1.0),
    ({"limit": "1"}, "source.limit", 1),
    ({"limit": 1.0}, "source.limit", 1),
    ({"limit": None}, "source.limit", None),
    ({"gpu_price": "2.5"}, "gpu_price", 2.5),
    ({"batch_images": "2"}, "cluster.batch_images", 2),
    ({"batch_images": "auto"}, "cluster.batch_images", None),
    ({"num_retain_tokens": "all"}, "model.num_retain_tokens", None),
    ({"num_retain_tokens": "48"}, "model.num_retain_tokens", 48),
    ({"num_actors": "2,4"}, "cluster.num_actors", (2, 4)),
    ({"num_actors": [2, 4]}, "cluster.num_actors", (2, 4)),
    ({"num_actors": 3}, "cluster.num_actors", (3, 3)),
    ({"input": "a,b.parquet"}, "source.input", ("a,b.parquet",)),
    ({"input": ["a", "b"]}, "source.input", ("a", "b")),
    ({"allow_prefixes": "s3://x/"}, "source.allow_prefixes", ("s3://x/",)),
    ({"storage_options": {"anon": True}}, "storage_options", {"anon": True}),
    ({"storage_options": ["anon=true", "a.b=1"]}, "storage_options", {"anon": True, "a": {"b": "1"}}),
    ({"storage_options": "key=x"}, "storage_options", {"key": "x"}),
    ({"id_column": ""}, "source.id_column", ""),
]


@pytest.mark.parametrize(("settings", "name", "expected"), TABLE)
def test_a_setting_has_its_declared_type_however_it_is_written(
    settings: dict[str, Any], name: str, expected: object
) -> None:
    found = operator.attrgetter(name)(RunConfig.from_flat(BASE | settings))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 1.5}, "--limit is 1.5; it must be a whole number, got a number with a fractional part"),
        ({"limit": "many"}, "--limit is many; it must be a whole number"),
        ({"limit": True}, "--limit is True; it must be a whole number"),
        ({"limit": [1]}, "--limit is [1]; it must be a whole number"),
        ({"limit": "1e999999999"}, "--limit is 1e999999999; it must be a whole number"),
        ({"limit": ""}, "--limit is ''; it must be a whole number"),
        ({"overwrite": "maybe"}, "--overwrite is 'maybe'; it must be true or false"),
        ({"overwrite": [True]}, "--overwrite is [True]; it must be true or false"),
        ({"overwrite": 2}, "--overwrite is 2; it must be true or false"),
        ({"sample": float("nan")}, "--sample is nan; it must be a finite number"),
        ({"sample": "nan"}, "--sample is nan; it must be a finite number"),
        ({"gpu_price": "inf"}, "--gpu-price is inf; it must be a finite number"),
        ({"max_failure_rate": True}, "--max-failure-rate is True; it must be a number"),
        ({"question": 3}, "--question is 3; it must be text (in YAML, quote it)"),
        ({"model": False}, "--model is False; it must be text (in YAML, quote it)"),
        ({"clip": ["a"]}, "--clip is ['a']; it must be text (in YAML, quote it)"),
        ({"input": 3}, "--input is 3; it must be text (in YAML, quote it)"),
        ({"input": {"a": 1}}, "--input is {'a': 1}; it must be text (in YAML, quote it)"),
        ({"num_actors": [1, 2, 3]}, "--num-actors is [1, 2, 3]; give N, or MIN,MAX"),
        ({"num_actors": [1.5]}, "--num-actors is [1.5]; it must be a whole number, got a number with"),
        ({"num_retain_tokens": "some"}, "--num-retain-tokens is some; it must be a whole number"),
        ({"layout": "seperate"}, "choose from separate, rounds, shared; did you mean separate?"),
        ({"rule": "relase"}, "; did you mean release?"),
        ({"order": "rastr"}, "; did you mean raster?"),
        ({"positions": "compct"}, "; did you mean compact?"),
        ({"device": "cpuu"}, "--device is 'cpuu'; choose from auto, cpu, cuda; did you mean cpu?"),
        ({"device": 3}, "--device is 3; it must be text"),
        ({"num_retain_token": 3}, "unknown setting num_retain_token; did you mean num_retain_tokens?"),
        ({"storage_options": "hunter2"}, "--storage-options: takes key=value"),
        ({"storage_options": 22}, "--storage-options: takes key=value"),
        ({"storage_options": [{"secret": "hunter2"}]}, "--storage-options: takes key=value"),
        ({"storage_options": {1: "hunter2"}}, "--storage-options: it must be text"),
    ],
)
def test_what_has_another_type_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        RunConfig.from_flat(BASE | settings)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_huge_value_is_not_printed_whole() -> None:
    bomb: list[Any] = ["x" * 1000]
    for _ in range(30):
        bomb = [bomb, bomb, bomb]
    with pytest.raises(ValueError, match="--limit is") as caught:
        RunConfig.from_flat(BASE | {"limit": bomb})
    assert len(str(caught.value)) < 100_000


def test_what_is_wrong_is_told_before_what_is_missing() -> None:
    with pytest.raises(ValueError, match="--layout"):
        RunConfig.from_flat({"layout": "seperate"})


def test_limits_hold_however_a_configuration_is_made() -> None:
    config = RunConfig.from_flat(BASE)
    with pytest.raises(ValueError, match="--baseline-images is -1"):
        dataclasses.replace(config, baseline_images=-1)
    with pytest.raises(ValueError, match="--shard-images is 0"):
        InputConfig(input=("a",), shard_images=0)


def test_all_tokens_is_a_budget_of_its_own() -> None:
    config = RunConfig.from_flat(BASE | {"num_retain_tokens": "all"})
    assert config.model.tokens_in_words == "all"
    assert redacted(config).model.num_retain_tokens is None
    assert "num_retain_tokens was 192 and is now all" in describe_differences(
        facts_of(), facts_of(num_retain_tokens="all")
    )


def test_every_flag_of_a_class_is_a_key_of_its_own() -> None:
    keys = [one.key for one in flat(RunConfig)]
    assert len(keys) == len(set(keys)) > 30


def test_storage_options_nest_and_keep_digits_as_text() -> None:
    pairs = [
        "key=AK",
        "anon=false",
        "client_kwargs.endpoint_url=http://h:1/a=b",
        "client_kwargs.region_name=x",
        "secret=0123",
    ]
    assert parse_storage_options(pairs) == {
        "key": "AK",
        "anon": False,
        "client_kwargs": {"endpoint_url": "http://h:1/a=b", "region_name": "x"},
        "secret": "0123",
    }


def test_a_bad_storage_option_is_refused_without_its_text() -> None:
    with pytest.raises(ValueError, match="key=value") as caught:
        parse_storage_options(["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_yaml_settings_are_read_by_the_flags_names(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("num-retain-tokens: 48\nrule: paper\n")
    assert load_yaml(str(path)) == {"num_retain_tokens": 48, "rule": "paper"}
    path.write_text("allow_prefix: s3://x\n")
    assert load_yaml(str(path)) == {"allow_prefixes": "s3://x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "unknown setting colour"),
        ("num_retain_token: 3", "did you mean num_retain_tokens"),
        ("- a", "must be a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_yaml_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_yaml(str(path))
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        load_yaml(str(tmp_path / "nowhere.yaml"))


def facts_of(**settings: Any) -> Any:
    config = RunConfig.from_flat(BASE | settings)
    files = [{"path": "in.parquet", "rows": settings.get("rows", 1)}]
    return fingerprint_facts(config, files=files, columns="image, phrase", revision="r1")


@pytest.mark.parametrize(
    "settings",
    [
        {"num_actors": (2, 2)},
        {"gpu_price": 3.0},
        {"storage_options": {"key": "x"}},
        {"max_failure_rate": 0.5},
        {"device": "cpu"},
    ],
)
def test_what_changes_no_result_changes_no_fingerprint(settings: Any) -> None:
    assert fingerprint(facts_of(**settings)) == fingerprint(facts_of())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_retain_tokens": 48}, "num_retain_tokens was 192 and is now 48"),
        ({"rule": "paper"}, "rule was 'release' and is now 'paper'"),
        ({"sample": 0.5}, "sample was None"),
        ({"shard_images": 8}, "shard_images was None"),
        ({"max_pixels": 10}, "max_pixels was"),
        ({"baseline_images": 5}, "baseline_images was 0 and is now 5"),
    ],
)
def test_what_changes_results_changes_the_fingerprint_and_is_named(settings: Any, named: str) -> None:
    old, new = facts_of(), facts_of(**settings)
    assert fingerprint(old) != fingerprint(new)
    assert named in "; ".join(describe_differences(old, new))


def test_changed_input_files_are_named() -> None:
    old = {"input_files": [{"path": "a", "rows": 1}, {"path": "b", "rows": 1}]}
    new = {"input_files": [{"path": "a", "rows": 2}, {"path": "c", "rows": 1}]}
    assert describe_differences(old, new) == ["input files differ: 1 added (c), 1 gone (b), 1 changed (a)"]


def test_no_secret_is_written_down() -> None:
    options = {"key": "AKIA123", "client_kwargs": {"aws_session_token": "tok-456"}}
    config = RunConfig.from_flat(BASE | {"storage_options": options})
    text = str(redacted(config))
    assert "AKIA123" not in text
    assert "tok-456" not in text
    assert "aws_session_token" in text
    redact = Redactor(options)
    assert redact("GET https://u:p@h/x?X-Amz-Signature=abc failed: AKIA123\nline two") == (
        "GET https://<redacted>@h/x?<redacted> failed: <redacted> line two"
    )


def test_a_storage_option_may_be_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_SECRET", "hunter2")
    assert parse_storage_options(["key=k", "client.secret=env:BUCKET_SECRET"]) == {
        "key": "k",
        "client": {"secret": "hunter2"},
    }
    with pytest.raises(ValueError, match=r"client\.secret: there is no environment variable NONE"):
        parse_storage_options(["client.secret=env:NONE"])
