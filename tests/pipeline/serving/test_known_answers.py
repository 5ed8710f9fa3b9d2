"""Records of a finished run as answers: of the same image bytes, phrase, rule and budget alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.images.perceptual_hash import perceptual_hash
from litelvlm.pipeline.serving.known_answers import KnownAnswers
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import NUM_VISUAL_TOKENS
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import read_records, row


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    make_output(root, [row(number, "The red box", "a dog") for number in range(9)], shard_images=4)
    return root / "out"


def known(output: Path, revision: str = "fake-1") -> KnownAnswers:
    storage = Storage(str(output))
    model = claimed_run(storage).config.model
    return KnownAnswers([storage], model, revision=revision, num_visual_tokens=NUM_VISUAL_TOKENS)


def find(answers: KnownAnswers, data: bytes, *phrases: str, output: Path, **changes: Any) -> Any:
    model = claimed_run(Storage(str(output))).config.model
    asked = {"num_retain_tokens": model.num_retain_tokens, "rule": model.rule} | changes
    return answers.find(data, perceptual_hash(decode_image(data).rgb), phrases, **asked)


def test_what_the_run_has_answered_is_found_as_it_stands_there(output: Path) -> None:
    answers, records = known(output), read_records(output)
    assert answers.num_records == len(records) == 18
    for number in range(9):
        data = row(number)["image"]
        found = find(answers, data, "the red box", "a dog", "a cat", output=output)
        assert set(found) == {"the red box", "a dog"}
        own = {one["phrase"].lower(): one for one in records if one["source_row"] == number}
        for phrase, answer in found.items():
            assert (answer.status, answer.source) == (own[phrase]["status"], "run")
            assert answer.mask.counts == own[phrase]["mask_rle"]
            assert answer.score == own[phrase]["score"]


def test_other_bytes_budgets_and_rules_are_not(output: Path) -> None:
    answers, data = known(output), row(0)["image"]
    assert find(answers, data + b"\0", "a dog", output=output) == {}  # the same pixels, another file
    assert find(answers, data, "a dog", output=output, num_retain_tokens=3, rule="paper") == {}


def test_runs_of_other_models_and_unfinished_ones_are_refused(output: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another model"):
        known(output, revision="another")
    with pytest.raises(ValueError, match="no run"):
        KnownAnswers(
            [Storage(str(tmp_path))], claimed_run(Storage(str(output))).config.model, revision="", num_visual_tokens=4
        )
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    (copy / "_SUCCESS").unlink()
    with pytest.raises(ValueError, match="not finished"):
        known(copy)
