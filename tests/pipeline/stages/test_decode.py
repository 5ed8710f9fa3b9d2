"""Rows become images and phrases, or reasons; nothing that one row holds ends the shard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.images.perceptual_hash import perceptual_hash
from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.schemas import SHARD_SCHEMA
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from litelvlm.pipeline.shards.markers import Marker, create_marker, write_data
from litelvlm.pipeline.shards.payload import Decision, DoneShard, ShardTask, ShardWork, pack, unpack
from litelvlm.pipeline.stages.decode import DecodeStage, image_key
from litelvlm.pipeline.stages.failures import Failure
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import BAD_PHRASE, FakeEngine, true_mask
from tests.pipeline.samples import mixed_rows, picture, png, row, run_config, write_table


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    source = write_table(tmp_path / "in.parquet", mixed_rows(30))
    return make_plan(run_config(source, tmp_path / "out"), revision="r")


def decode_stage(plan: RunPlan, storage: Storage) -> DecodeStage:
    """The stage, with the fake model."""
    return DecodeStage(
        mapping=plan.mapping,
        engine=FakeEngine(),
        policy=UriPolicy(manifest_is_local=True),
        storage=storage,
        session="now",
        marker=Marker,
    )


def decode(plan: RunPlan, storage: Storage) -> object:
    """What the decode stage makes of the plan's first shard."""
    return unpack(decode_stage(plan, storage)(pack(ShardTask(shard=plan.shards[0]))))


def test_the_marker_of_a_shard_that_is_done_is_handed_on(tmp_path: Path, plan: RunPlan) -> None:
    storage = Storage(str(tmp_path / "out"))
    shard_id = plan.shards[0].shard_id
    marker = Marker(shard_id=shard_id, index=0, rows=8, failed=0, data=write_data(storage, shard_id, [], SHARD_SCHEMA))
    assert create_marker(storage, marker).finished_at > 0
    found = decode(plan, storage)
    assert isinstance(found, DoneShard)
    assert replace(found.marker, finished_at=0.0) == marker
    assert storage.list("_attempts") == []


def test_a_shard_without_a_marker_is_decoded(tmp_path: Path, plan: RunPlan) -> None:
    work = decode(plan, Storage(str(tmp_path / "out")))
    assert isinstance(work, ShardWork)
    assert len(work.images) == 8
    assert [one.hash for one in work.images] == [
        None if one.height is None else perceptual_hash(picture(number)) for number, one in enumerate(work.images)
    ]
    assert sum(one.hash is None for one in work.images) == 1


def test_rows_alone_are_decoded_without_a_trace(tmp_path: Path, plan: RunPlan) -> None:
    storage = Storage(str(tmp_path / "out"))
    images = decode_stage(plan, storage).decode_rows(ShardTask(shard=plan.shards[0]))
    assert storage.list("") == []
    work = decode(plan, storage)
    assert isinstance(work, ShardWork)
    assert [(one.image_key, one.hash) for one in images] == [(one.image_key, one.hash) for one in work.images]


def test_trouble_of_the_store_fails_no_record(tmp_path: Path, plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(loading: object) -> bytes:
        raise StorageError("the credentials have expired")

    monkeypatch.setattr("litelvlm.pipeline.stages.decode._Loading.data", refuse)
    failure = decode(plan, Storage(str(tmp_path / "out")))
    assert isinstance(failure, Failure)
    with pytest.raises(StorageError, match="have expired"):
        failure.throw()


def decoded(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    *,
    mask_column: str | None = None,
    decided: dict[int, dict[int, Decision]] | None = None,
    **stage: Any,
) -> ShardWork:
    """The only shard of a table, decoded."""
    source = write_table(tmp_path / "rows.parquet", rows)
    plan = make_plan(run_config(source, tmp_path / "out", shard_images=99, mask_column=mask_column), revision="r")
    settings = {"mapping": plan.mapping, "engine": FakeEngine(), "policy": UriPolicy(manifest_is_local=True)} | stage
    found = DecodeStage(storage=Storage(str(tmp_path / "out")), session="now", marker=Marker, **settings)
    task = ShardTask(shard=plan.shards[0], decided=decided or {}, truth_rows=None if mask_column else frozenset())
    guard = Guard(storage=found.storage, session="now", stage="decode", shard_id=task.shard.shard_id)
    return found.decode_shard(task, guard)


def test_a_good_row_is_an_image_with_its_phrases(tmp_path: Path) -> None:
    given = row(3, "The Red Box", "a dog")
    (image,) = decoded(tmp_path, [given]).images
    np.testing.assert_array_equal(image.prepared, picture(3))
    assert (image.image_id, image.file_name) == ("image-0003", "image-0003.png")
    assert (image.height, image.width, image.notes) == (24, 32, None)
    assert [(one.phrase, one.prompt, one.error) for one in image.drafts] == [
        ("The Red Box", "the red box", None), ("a dog", "a dog", None),
    ]  # fmt: skip


def test_every_row_has_drafts_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    rows = [
        row(0, image=b""),
        row(1, image=b"<html>not found</html>"),
        row(2, "", "a dog", BAD_PHRASE),
        row(3, phrases=[]),
        row(4, image=None),
        row(5, "x" * 5_000),
    ]
    images = decoded(tmp_path, rows).images
    errors = [[one.error for one in image.drafts] for image in images]
    assert errors[0] == ["empty: no bytes"]
    assert errors[1] == ["html: a web page, not an image"]
    assert errors[2] == ["phrase: empty", None, "phrase: has no answer"]
    assert errors[3] == ["phrase: the list is empty"]
    assert errors[4] == ["image: null"]
    assert errors[5] == ["phrase: 5000 characters long, more than 4096"]
    assert len(images[5].drafts[0].phrase) == 200
    assert [image.prepared is None for image in images] == [True, True, False, True, True, False]
    assert [one.source_row for image in images for one in image.drafts] == [0, 1, 2, 2, 2, 3, 4, 5]


def test_what_reviewers_have_decided_is_dropped_if_it_is_the_same_phrase_of_the_same_image(tmp_path: Path) -> None:
    rows = [row(0, "a dog", "a cat"), row(1, BAD_PHRASE), row(2, "a dog", image=b""), row(3, "a dog")]
    decided = {
        0: {0: Decision("image-0000", "a dog", "edited"), 1: Decision("image-0000", "a cow", "edited")},
        1: {0: Decision("image-0001", BAD_PHRASE, "added")},
        2: {0: Decision("image-0002", "a dog", "absent")},
        3: {0: Decision("image-0002", "a dog", "absent")},
    }
    images = decoded(tmp_path, rows, decided=decided).images
    assert [[(one.dropped, one.error) for one in image.drafts] for image in images] == [
        [("reviewed: edited", None), (None, None)], [("reviewed: added", None)], [("reviewed: absent", None)],
        [(None, None)],
    ]  # fmt: skip
    assert [[one.phrase for one in image.asked] for image in images] == [["a cat"], [], [], ["a dog"]]


def test_adjacent_rows_of_one_image_are_decoded_once(tmp_path: Path) -> None:
    rows = [row(0, "a dog"), row(0, "a cat", "a box"), row(1), row(0, "again"), row(0, image_id="other")]
    work = decoded(tmp_path, rows)
    assert [[one.phrase for one in image.drafts] for image in work.images] == [
        ["a dog", "a cat", "a box"], ["the red box"], ["again"], ["the red box"],
    ]  # fmt: skip
    assert [one.source_row for one in work.images[0].drafts] == [0, 1, 1]
    keys = [image.image_key for image in work.images]
    assert keys[0] == keys[2] != keys[3]
    assert work.bytes_read == 4 * len(png(picture(0))) + len(png(picture(1)))


def test_reasons_hold_no_secret_and_no_line_break(tmp_path: Path) -> None:
    class Leaking(FakeEngine):
        def check_phrase(self, preprocessor: object, phrase: str) -> str:
            raise ValueError("phrase: bad\nhunter2")

    (image,) = decoded(tmp_path, [row(0)], engine=Leaking(), storage_options={"secret": "hunter2"}).images
    assert image.drafts[0].error == "phrase: bad <redacted>"


def test_images_named_by_uri_come_from_where_they_may_and_in_order(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(png(picture(number)))
    rows = [row(number, image=f"{tmp_path}/{number}.png") for number in range(12)]
    rows[5]["image"] = f"{tmp_path}/gone.png"
    images = decoded(tmp_path, rows).images
    assert [image.drafts[0].source_row for image in images] == list(range(12))
    assert (images[5].drafts[0].error or "").startswith("not_found")
    refused = decoded(tmp_path, rows, policy=UriPolicy(manifest_is_local=False)).images
    assert all((image.drafts[0].error or "").startswith("refused") for image in refused)


def test_an_image_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    (image,) = decoded(tmp_path, [row(0)], max_pixels=24 * 32 - 1).images
    assert image.drafts[0].error == "too_many_pixels: declared size 32x24, the limit is 767 pixels"


def test_true_masks_are_read_where_they_are_wanted_and_cost_no_record(tmp_path: Path) -> None:
    rows = [row(0, "a dog"), row(1, "a dog"), row(2, "a dog", image=b"")]
    for number, given in enumerate(rows):
        given["truth"] = json.dumps([encode_mask(true_mask(picture(number), "a dog")).as_coco()])
    rows[1]["truth"] = "no mask"
    work = decoded(tmp_path, rows, mask_column="truth")
    (good,), (bad,), (failed,) = (image.drafts for image in work.images)
    assert good.truth is not None
    np.testing.assert_array_equal(decode_mask(good.truth), true_mask(picture(0), "a dog"))
    assert (bad.truth, bad.error) == (None, None)
    assert bad.truth_error
    assert failed.truth_error is None
    assert work.num_bad_truths == 1


def test_the_identity_of_an_image_is_its_id_and_its_content() -> None:
    keys = {image_key("a", b"1"), image_key("a", b"2"), image_key("b", b"1"), image_key("a\0", b"1")}
    assert len(keys) == 4
    assert all(len(key) == 16 for key in keys)
    assert image_key("a", b"1") in keys
