"""Settings: where they come from, what is refused, what decides a fingerprint."""

from __future__ import annotations

import json

import pytest

from litelvlm.pipeline.config import (
    RunConfig,
    describe_differences,
    fingerprint,
    fingerprint_facts,
    load_yaml,
    parse_actors,
    parse_storage_options,
    redacted,
)
from litelvlm.pipeline.redact import Redactor

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
def test_what_does_not_fit_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.from_flat(BASE | settings)


@pytest.mark.parametrize(("given", "expected"), [("4", (4, 4)), ("2,16", (2, 16)), (3, (3, 3)), ([1, 2], (1, 2))])
def test_actors_are_a_number_or_a_range(given, expected):
    assert parse_actors(given) == expected


@pytest.mark.parametrize("given", ["", "a", "1,2,3", None])
def test_other_actors_are_refused(given):
    with pytest.raises(ValueError, match="--num-actors"):
        parse_actors(given)


def test_storage_options_nest_and_keep_digits_as_text():
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


def test_a_bad_storage_option_is_refused_without_its_text():
    with pytest.raises(ValueError, match="key=value") as caught:
        parse_storage_options(["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_yaml_settings_are_read_by_the_flags_names(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("num-retain-tokens: 48\nrule: paper\n")
    assert load_yaml(str(path)) == {"num_retain_tokens": 48, "rule": "paper"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("colour: red", "unknown setting colour"), ("- a", "must be a mapping"), ("a: [", "not valid YAML")],
)
def test_yaml_that_does_not_fit_is_refused(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_yaml(str(path))
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        load_yaml(str(tmp_path / "nowhere.yaml"))


def facts_of(**settings):
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
def test_what_changes_no_result_changes_no_fingerprint(settings):
    assert fingerprint(facts_of(**settings)) == fingerprint(facts_of())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_retain_tokens": 48}, "num_retain_tokens was 192 and is now 48"),
        ({"rule": "paper"}, "rule was 'release' and is now 'paper'"),
        ({"sample": 0.5}, "sample was None"),
        ({"shard_images": 8}, "shard_images was 64"),
        ({"max_pixels": 10}, "max_pixels was"),
    ],
)
def test_what_changes_results_changes_the_fingerprint_and_is_named(settings, named):
    old, new = facts_of(), facts_of(**settings)
    assert fingerprint(old) != fingerprint(new)
    assert named in "; ".join(describe_differences(old, new))


def test_changed_input_files_are_named():
    old = {"input_files": [{"path": "a", "rows": 1}, {"path": "b", "rows": 1}]}
    new = {"input_files": [{"path": "a", "rows": 2}, {"path": "c", "rows": 1}]}
    assert describe_differences(old, new) == ["input files differ: 1 added (c), 1 gone (b), 1 changed (a)"]


def test_no_secret_is_written_down():
    options = {"key": "AKIA123", "client_kwargs": {"aws_session_token": "tok-456"}}
    config = RunConfig.from_flat(BASE | {"storage_options": options})
    text = json.dumps(redacted(config))
    assert "AKIA123" not in text
    assert "tok-456" not in text
    assert "aws_session_token" in text
    redact = Redactor(options)
    assert redact("GET https://u:p@h/x?X-Amz-Signature=abc failed: AKIA123\nline two") == (
        "GET https://<redacted>@h/x?<redacted> failed: <redacted> line two"
    )
