"""Whole evaluations through Ray with the fake model: results, resuming, mistakes."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.run import evaluate_dataset, example_rows
from litelvlm.pipeline.errors import DataError, UsageError
from litelvlm.pipeline.shards.manifest import make_plan
from tests.evaluation.fakes import FakeEvaluation
from tests.evaluation.samples import evaluation_config, truth_row, write_rows
from tests.pipeline.samples import picture

pytestmark = pytest.mark.usefixtures("local_ray")


def _results(output: Any) -> Any:
    rows = pq.read_table(output / "results.parquet").to_pylist()
    return {(row["rule"], row["num_retain_tokens"], row["seed"], row["slice_by"], row["slice"]): row for row in rows}


def test_an_evaluation_from_table_to_results_and_back_after_a_loss(tmp_path: Path) -> None:
    rows = [truth_row(number) for number in range(20)]
    rows[4]["image"] = {"bytes": b"<html>", "path": None}
    rows[9]["masks"] = [None] * len(rows[9]["phrases"])
    config = evaluation_config(write_rows(tmp_path / "in.parquet", rows), tmp_path / "out")
    stream = io.StringIO()
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=stream) == 0
    output = tmp_path / "out"
    results = _results(output)
    phrases = sum(len(row["phrases"]) for row in rows)
    lost = len(rows[4]["phrases"]) + len(rows[9]["phrases"])
    unpruned = results["none", 16, 0, "all", "all"]
    assert (unpruned["expressions"], unpruned["failed"], unpruned["images"]) == (phrases - lost, lost, 18)
    assert unpruned["ciou"] == unpruned["giou"] == unpruned["boundary_f"] == 1.0
    assert unpruned["protocol"].startswith("every: ")
    assert {key[:3] for key in results} == {
        ("none", 16, 0),
        *(("low_similarity", budget, 0) for budget in (8, 4)),
        *(("random", budget, seed) for budget in (8, 4) for seed in (0, 1)),
    }
    half, quarter = (results["low_similarity", budget, 0, "all", "all"] for budget in (8, 4))
    assert 1 > half["ciou"] > quarter["ciou"]
    assert half["ciou_low"] <= half["ciou"] <= half["ciou_high"]
    assert half["coverage"] < 1
    _check_slices(results, unpruned)
    plan = make_plan(config.run, revision="r")
    chosen = {row for chosen in example_rows(plan, config).values() for row in chosen}
    _check_answers(output, rows, examples=chosen - {4, 9})

    before = (output / "results.parquet").read_bytes()
    markers = sorted((output / "_done").iterdir())
    kept = {path.name: path.read_bytes() for path in markers[1:]}
    markers[0].unlink()
    (output / "_SUCCESS").unlink()
    (output / "results.parquet").unlink()
    for name in ("answers.parquet.tmp-1", "_done/x.json.tmp-1"):
        (output / name).write_bytes(b"of a writer that was killed")
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=stream) == 0
    assert "1 shards to do" in stream.getvalue()
    assert not list(output.rglob("*.tmp-*"))
    assert len(list((output / "shards").iterdir())) == len(markers), "the lost marker's data file is gone"
    assert {path.name: path.read_bytes() for path in markers[1:]} == kept
    again = _results(output)
    timed = ("encode_s", "answer_s", "llm_s")
    assert {k: {n: v for n, v in row.items() if n not in timed} for k, row in again.items()} == {
        k: {n: v for n, v in row.items() if n not in timed} for k, row in results.items()
    }
    assert before
    assert evaluate_dataset(config, engine=FakeEvaluation(broken=True), stream=stream) == 0
    assert "nothing to do" in stream.getvalue()


def _check_slices(results: Any, unpruned: Any) -> None:
    for dimension in ("words", "object_size", "kind"):
        parts = [row for key, row in results.items() if key[:4] == ("none", 16, 0, dimension)]
        assert len(parts) > 1 or dimension == "object_size"
        assert sum(row["expressions"] for row in parts) == unpruned["expressions"]
    assert ("none", 16, 0, "words", "8 words and more") in results
    assert ("none", 16, 0, "kind", "box") in results


def _check_answers(output: Any, rows: Any, *, examples: Any) -> None:
    answers = pq.read_table(output / "answers.parquet").to_pylist()
    assert len(answers) == 7 * sum(len(row["phrases"]) for row in rows)
    for answer in answers:
        row = rows[answer["source_row"]]
        assert answer["sentence_id"] == row["sentence_ids"][answer["phrase_index"]]
        assert answer["kind"] == row["kinds"][answer["phrase_index"]]
        assert answer["image_id"] == row["image_id"]
    shown = {answer["source_row"] for answer in answers if answer["retained"] is not None}
    assert shown == examples
    reasons = {answer["error"] for answer in answers if answer["status"] == "failed"}
    assert "there is no true mask" in reasons
    assert any("html" in reason for reason in reasons)


def test_another_sweep_does_not_mix_into_an_output(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.parquet", [truth_row(number) for number in range(4)])
    config = evaluation_config(source, tmp_path / "out", rules=("none",))
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
    other = evaluation_config(source, tmp_path / "out", rules=("none",), protocol="release")
    with pytest.raises(UsageError, match=r"choose another --output.*protocol was"):
        evaluate_dataset(other, engine=FakeEvaluation(), stream=io.StringIO())
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["results"][0]["ciou"] == 1.0


def test_no_targets_count_by_the_fields_rule(tmp_path: Path) -> None:
    empty = {"size": list(picture(0).shape[:2]), "counts": [picture(0)[..., 0].size]}
    rows = [truth_row(number, "nothing at all") for number in range(3)]  # the model finds nothing there
    mistaken = truth_row(3, "a dog")
    from litelvlm.pipeline.table.true_masks import parse_mask

    mistaken["masks"] = [parse_mask(empty, picture(0).shape[:2]).as_coco()]  # the model finds something
    config = evaluation_config(
        write_rows(tmp_path / "in.parquet", [*rows, mistaken]), tmp_path / "out", rules=("none",)
    )
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
    found = _results(tmp_path / "out")["none", 16, 0, "all", "all"]
    assert (found["n_acc"], found["t_acc"], found["giou"], found["ciou"]) == (0.75, None, 0.75, 0.0)
    assert found["no_target"] == 4


def test_mistakes_are_usage_errors(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.parquet", [truth_row(0)])
    config = evaluation_config(source, tmp_path / "out")
    import dataclasses

    source_without = dataclasses.replace(config.run.source, mask_column=None)
    without = dataclasses.replace(config, run=dataclasses.replace(config.run, source=source_without))
    with pytest.raises(UsageError, match="--mask-column"):
        evaluate_dataset(without, engine=FakeEvaluation())
    with pytest.raises(UsageError, match="no weights"):
        evaluate_dataset(config, engine=FakeEvaluation(load_error="no weights"), stream=io.StringIO())
    assert np.all([not name.exists() for name in (tmp_path / "out").glob("*.html")])


def test_what_is_wrong_with_a_mask_is_said_and_costs_its_expression_alone(tmp_path: Path) -> None:
    row = truth_row(3)
    size = row["masks"][0]["size"]
    row["masks"][1] = {"size": [size[0] + 1, size[1]], "counts": row["masks"][1]["counts"]}
    other = truth_row(2)
    other["masks"] = other["masks"][:1]
    config = evaluation_config(write_rows(tmp_path / "in.parquet", [row, other]), tmp_path / "out", rules=("none",))
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
    answers = pq.read_table(tmp_path / "out" / "answers.parquet").to_pylist()
    reasons = {(answer["source_row"], answer["phrase_index"]): answer["error"] for answer in answers}
    assert [reasons[0, index] is None for index in range(4)] == [True, False, True, True]
    assert f"size [{size[0] + 1}, {size[1]}] is not the image's" in reasons[0, 1]
    assert all("1 masks for 3 phrases" in reasons[1, index] for index in range(3))


def test_budgets_beyond_all_tokens_are_the_unpruned_model_once(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.parquet", [truth_row(number) for number in range(3)])
    stream = io.StringIO()
    config = evaluation_config(source, tmp_path / "out", rules=("low_similarity",), budgets=(8, 17, 500))
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=stream) == 0
    assert "evaluated once: 17, 500" in stream.getvalue()
    assert {key[:2] for key in _results(tmp_path / "out")} == {("none", 16), ("low_similarity", 8)}
    config = evaluation_config(source, tmp_path / "all", rules=("low_similarity",), budgets=(17,))
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=stream) == 0
    assert {key[:2] for key in _results(tmp_path / "all")} == {("none", 16)}


@pytest.mark.parametrize("shard_images", [2, 100])
def test_images_torn_apart_are_refused_where_they_are_conversations(tmp_path: Path, shard_images: int) -> None:
    whole = [truth_row(number) for number in range(4)]
    torn = [truth_row(3, phrase) for phrase in whole[3]["phrases"][:3]] + whole[:1] + [truth_row(3, "a dog")]
    source = write_rows(tmp_path / "in.parquet", torn)
    run = {"shard_images": shard_images}
    config = evaluation_config(source, tmp_path / "out", rules=("none",), protocol="release", run=run)
    with pytest.raises(UsageError, match="several places"):
        evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO())
    config = evaluation_config(source, tmp_path / "separate", rules=("none",), run=run)
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0


def test_a_damaged_shard_is_told_with_what_to_do(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.parquet", [truth_row(number) for number in range(4)])
    config = evaluation_config(source, tmp_path / "out", rules=("none",))
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
    (tmp_path / "out" / "_SUCCESS").unlink()
    [data] = (tmp_path / "out" / "shards").glob("**/*.parquet")
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"remove _done/\S+ and run again") as failure:
        evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO())
    marker = re.search(r"remove (\S+) and", str(failure.value)).group(1)
    (tmp_path / "out" / marker).unlink()
    assert evaluate_dataset(config, engine=FakeEvaluation(), stream=io.StringIO()) == 0
