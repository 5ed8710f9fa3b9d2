"""The parts of a report: shards to figures, records to picks, pictures, charts and words."""

from __future__ import annotations

import base64
import io
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from litelvlm.pipeline.dataset_run import uri_policy
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.report import charts, words
from litelvlm.pipeline.report.baseline import baseline_facts
from litelvlm.pipeline.report.pictures import MAX_BYTES, SIDE_PX, SourceImage, SourceImages, draw_picture
from litelvlm.pipeline.report.records import Reasons, score_facts
from litelvlm.pipeline.report.shards import (
    actors,
    phrases_per_device_second,
    stragglers,
    timeline,
    usage,
)
from litelvlm.pipeline.shards.markers import Baseline, MaskPair, ShardMarker, WayTaken
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output, shard_table
from tests.pipeline.samples import picture, png, row, shard_marker

# ---- shards ----


def test_the_parts_of_the_held_time_add_up_to_it():
    used = usage(shard_table(40, baseline_s=2.0, held_s=12.0))
    assert sum(used.seconds.values()) == pytest.approx(used.held_s) == pytest.approx(480.0)
    assert used.busy_share == pytest.approx(11 / 12)
    assert used.share("llm") == pytest.approx(0.25)


def test_nothing_of_a_shard_is_lost_over_time():
    table = shard_table(57, phrases=np.arange(57) + 1)
    line = timeline(table, steps=33)
    assert sum(line.phrases_per_s) * line.step_s == pytest.approx(57 * 58 / 2)
    assert sum(line.images_per_s) * line.step_s == pytest.approx(57 * 64)
    assert line.worked_s == pytest.approx(150.0)
    assert line.busy_share[:-4] == pytest.approx([0.9] * 29)


def test_pauses_between_sessions_are_cut_out_and_marked():
    start = 1.8e9 + np.concatenate([10.0 * np.arange(20), 90_000.0 + 10.0 * np.arange(20)])
    table = shard_table(40, actor_from=start, actor_to=start + 10, finished_at=start + 10, actor="a")
    line = timeline(table)
    assert line.worked_s == pytest.approx(400.0)
    assert line.breaks == pytest.approx([0.5])
    assert line.cut_s == pytest.approx(90_000 - 200)
    assert line.ended_at - line.started_at == pytest.approx(90_200)


def test_loading_the_model_counts_as_held_but_not_as_work():
    table = shard_table(1, startup_s=90.0, held_s=100.0, actor_to=1.8e9 + 100, finished_at=1.8e9 + 100)
    line = timeline(table, steps=10)
    assert line.phrases_per_s[:9] == pytest.approx([0.0] * 9, abs=1e-6)
    assert line.phrases_per_s[9] == pytest.approx(20.0, rel=1e-3)
    assert line.busy_share[0] == pytest.approx(0.0, abs=1e-6)


def test_a_straggler_is_found_with_the_part_that_it_spent_its_time_in():
    sam = np.full(30, 2.0)
    sam[17] = 20.0
    found, count = stragglers(shard_table(30, sam_s=sam, annotate_s=sam + 7.0, attempts=[1] * 17 + [3] + [1] * 12))
    assert count == 1
    assert found[0].shard_id.startswith("0000017")
    assert found[0].factor == pytest.approx(27.5 / 9.5)
    assert (found[0].mostly, found[0].attempts, found[0].megapixels_per_image) == ("sam", 3, 1.0)


def test_alike_shards_have_no_stragglers():
    assert stragglers(shard_table(30)) == ([], 0)
    assert stragglers(shard_table(1)) == ([], 0)


def test_actors_share_out_all_shards_the_least_busy_first():
    idle = np.where(np.arange(41) % 4 == 2, 5.0, 0.5)
    found = actors(shard_table(41, idle_s=idle))
    assert found[0].name == "node-2:102"
    assert sum(actor.shards for actor in found) == 41
    assert sum(actor.phrases for actor in found) == 41 * 200
    assert found[0].busy_share == pytest.approx(9 / 14.5)


def test_many_shards_are_grouped_and_keep_their_extremes():
    took = np.full(1_000, 10.0)
    took[123], took[456] = 1.0, 100.0
    spread = phrases_per_device_second(shard_table(1_000, annotate_s=took))
    assert spread.shards_per_step == 7
    assert len(spread.middle) == math.ceil(1_000 / 7) <= 160
    assert max(spread.high) == pytest.approx(200.0)
    assert min(spread.low) == pytest.approx(2.0)
    assert set(spread.middle) == {20.0}


def test_columns_of_nulls_give_dashes_not_errors():
    columns = ("megapixels", "actor_from", "actor_to", "attempts", "images", "baseline_images", "mfu", "tflop")
    table = shard_table(5, **dict.fromkeys(columns))
    line = timeline(table)
    assert sum(line.phrases_per_s) * line.step_s == pytest.approx(1_000)
    assert table.total("tflop") is None
    assert table.total("images") is None
    assert actors(table)[0].shards == 2


# ---- records ----


def write_records(storage: Storage, name: str, scores: list[float | None], *, first_row: int, group: int) -> None:
    """A file of records that have these scores; None is a failed record."""
    rows = [
        {
            "image_id": f"i{first_row + at // 2}", "phrase": f"p{at}", "score": score, "height": 2, "width": 2,
            "mask_rle": f"rle{first_row}-{at}", "source_file": "f", "source_row": first_row + at // 2,
            "phrase_index": at % 2, "status": "failed" if score is None else "ok",
        }
        for at, score in enumerate(scores)
    ]  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=group)
    storage.write_bytes(name, buffer.getvalue())


def test_the_best_and_worst_are_those_of_a_plain_sort_whatever_the_files(tmp_path):
    storage = Storage(str(tmp_path))
    rng = np.random.default_rng(0)
    given_scores: dict[int, float] = {}
    names = []
    for part in range(3):
        scores = [None if value < 0.1 else float(value) for value in rng.random(200)]
        names.append(f"records/part-{part}.parquet")
        write_records(storage, names[-1], scores, first_row=1_000 * part, group=17)
        for at, score in enumerate(scores):
            if score is not None:
                given_scores[1_000 * part + at // 2, at % 2] = score
    facts = score_facts(storage, names, shown=5)
    order = sorted(given_scores, key=lambda key: given_scores[key])
    lowest = list(dict.fromkeys(row for row, _ in order))[:5]
    assert [pick.source_row for pick in facts.worst] == lowest
    highest = [row for row in dict.fromkeys(row for row, _ in reversed(order)) if row not in lowest][:5]
    assert [pick.source_row for pick in facts.best] == highest
    assert facts.scored == len(given_scores)
    assert facts.mean == pytest.approx(np.mean(list(given_scores.values())))
    assert facts.worst[0].mask_rle.startswith(f"rle{lowest[0] // 1_000 * 1_000}-")


def test_scores_that_are_none_or_not_a_number_are_counted_apart(tmp_path):
    storage = Storage(str(tmp_path))
    write_records(storage, "records/a.parquet", [0.5, float("nan"), None, 1.0], first_row=0, group=10)
    facts = score_facts(storage, ["records/a.parquet"], shown=3)
    assert (facts.scored, facts.unscored) == (2, 1)
    assert score_facts(storage, [], shown=3).mean is None


def test_reasons_that_differ_in_paths_and_numbers_alone_are_one():
    reasons = Reasons()
    for number in range(5_000):
        reasons.add(f"not_found: s3://bucket/{number}.jpg does not exist")
        reasons.add(f"too_many_pixels: declared size {number}x1, the limit is 7 pixels")
    assert dict(reasons.counts) == {
        "not_found: … does not exist": 5_000,
        "too_many_pixels: declared size NxN, the limit is N pixels": 5_000,
    }
    assert reasons.examples["not_found: … does not exist"].endswith("/0.jpg does not exist")


def test_bytes_in_a_reason_do_not_tell_reasons_apart():
    assert words.pattern("not_an_image: starts with 22 3e 3c 69") == "not_an_image: starts with …"
    assert words.pattern("phrase: empty") == "phrase: empty"


def test_reasons_do_not_grow_with_the_input():
    reasons = Reasons()
    reasons.add("frequent", 10_000)
    for number in range(9_000):
        reasons.add(f"word{chr(0x4E00 + number)}")
    assert len(reasons.counts) <= 2_000
    assert reasons.counts["frequent"] == 10_000
    assert set(reasons.examples) == set(reasons.counts)


# ---- pictures ----


def mask_of(height: int, width: int) -> str:
    """A mask of the upper left quarter."""
    mask = np.zeros((height, width), dtype=bool)
    mask[: height // 2, : width // 2] = True
    return encode_mask(mask).counts


def decoded(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"), validate=True)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


def test_a_mask_is_seen_where_it_is():
    grey = np.full((100, 160, 3), 120, dtype=np.uint8)
    drawn = draw_picture(SourceImage(rgb=grey, size_hw=(100, 160)), (100, 160), mask_of(100, 160))
    pixels = decoded(drawn.uri)
    assert pixels.shape == (drawn.height, drawn.width, 3) == (300, SIDE_PX, 3)
    inside, outside = pixels[20:130, 20:220], pixels[170:280, 260:460]
    assert (inside[..., 0] - inside[..., 1]).min() > 60
    assert np.abs(outside - 120).max() < 12


def test_the_worst_picture_still_fits():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    drawn = draw_picture(SourceImage(rgb=noise, size_hw=noise.shape[:2]), noise.shape[:2], mask_of(SIDE_PX, SIDE_PX))
    assert drawn.uri is not None
    assert len(drawn.uri) < 4 / 3 * MAX_BYTES + 100


@pytest.mark.parametrize(
    ("image", "rle", "said"),
    [
        (SourceImage(note="gone"), "00", "gone"),
        (SourceImage(rgb=np.zeros((8, 8, 3), np.uint8), size_hw=(9, 8)), "00", "another size now: 8×9"),
        (SourceImage(rgb=np.zeros((8, 8, 3), np.uint8), size_hw=(8, 8)), "1", "run lengths do not fill"),
    ],
    ids=["no image", "another image", "a broken mask"],
)
def test_what_cannot_be_drawn_is_a_note(image, rle, said):
    drawn = draw_picture(image, (8, 8), rle)
    assert drawn.uri is None
    assert said in drawn.note


def test_images_come_from_where_the_run_may_read_and_from_nowhere_else(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(picture(number, height=30, width=900)))
    rows = [row(number, image=f"{number}.png") for number in range(3)]
    storage, config = make_output(tmp_path, rows, image_root=str(tmp_path / "images"))
    keys = [(f"{tmp_path}/in.parquet", number) for number in range(3)]
    loaded = SourceImages(storage, config, uri_policy(config)).load(keys)
    assert [loaded[key].size_hw for key in keys] == [(30, 900)] * 3
    assert all(max(loaded[key].rgb.shape) == SIDE_PX for key in keys)
    assert loaded[keys[0]].phrases == ("the red box",)
    refused = SourceImages(storage, config, UriPolicy(image_root=str(tmp_path / "elsewhere"))).load(keys)
    assert all(refused[key].rgb is None and refused[key].note for key in keys)
    late = SourceImages(storage, config, uri_policy(config), budget_s=-1.0).load(keys)
    assert "took too long" in late[keys[0]].note
    assert "in no shard" in SourceImages(storage, config, uri_policy(config)).load([("x", 0)])["x", 0].note


# ---- the comparison ----


def test_pairs_are_of_different_images_the_least_alike_first():
    def pair(row: int, iou: float) -> MaskPair:
        return MaskPair(source_row=row, phrase_index=0, iou=iou, size_hw=(2, 2), pruned_rle="", unpruned_rle="")

    def marker(shard: int, *pairs: MaskPair) -> ShardMarker:
        pruned, unpruned = (WayTaken(s=s, llm_s=0.5, peak_bytes=None) for s in (1.0, 3.0))
        found = Baseline(images=2, phrases=2, pruned=pruned, unpruned=unpruned, iou=[0.5, 1.0], pairs=list(pairs))
        return shard_marker(shard_id=f"s{shard}", baseline=found)

    markers = [marker(0, pair(4, 0.2), pair(4, 0.3)), marker(1, pair(9, 0.1)), shard_marker(shard_id="s2")]
    facts = baseline_facts(markers, shown=2)
    assert [(one.shard_id, one.masks.source_row, one.masks.iou) for one in facts.worst] == [
        ("s1", 9, 0.1),
        ("s0", 4, 0.2),
    ]
    assert facts.summary["images"] == 4
    assert facts.saved_share == pytest.approx(2 / 3)
    assert facts.same_share == 0.5
    assert Counter(facts.bins())[2] == 2
    assert baseline_facts([shard_marker()], shown=2) is None


# ---- charts and words ----


@given(st.floats(1e-9, 1e15))
def test_an_axis_ends_a_little_above_what_it_shows(value):
    top = charts.nice_ceiling(value)
    assert value * (1 - 1e-9) <= top <= 2 * value


@given(st.text(max_size=30), st.lists(st.integers(0, 10**9), max_size=30))
def test_charts_are_well_formed_whatever_their_labels_say(label, counts):
    label = "".join(char for char in label if char.isprintable())
    for chart in (
        charts.histogram(counts, label=label, low=label, high=label),
        charts.lines([charts.Series(name=label, css="c", values=counts)], label=label, ticks=[label, label]),
        charts.stacked([charts.Part(name=label, css="c", share=0.5)] * 2, label=label),
    ):
        assert ElementTree.fromstring(chart).get("aria-label") == label


def test_bars_are_as_high_as_their_counts():
    chart = ElementTree.fromstring(charts.histogram([0, 50, 100], label="", low="0", high="1"))
    heights = [float(bar.get("height")) for bar in chart.iter("rect")]
    assert heights == pytest.approx([70.0, 140.0])
    assert [text.text for text in chart.iter("text")] == ["50", "100", "0", "0.5", "1"]


def test_a_gap_in_a_line_stays_a_gap():
    series = charts.Series(name="", css="c", values=[1.0, None, 2.0])
    chart = ElementTree.fromstring(charts.lines([series], label="", ticks=["", ""], breaks=[0.25]))
    assert len(list(chart.iter("polyline"))) == 2
    assert [line.get("x1") for line in chart.iter("line") if line.get("class") == "cut"] == ["25%"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.seconds(0.0123), "12.3 ms"),
        (words.seconds(0.5), "0.5 s"),
        (words.seconds(99.6), "1 min 40 s"),
        (words.seconds(3 * 3600 + 12 * 60), "3 h 12 min"),
        (words.seconds(2 * 86400), "2 d"),
        (words.seconds(None), "–"),
        (words.seconds(float("nan")), "–"),
        (words.hours(7200), "2 h"),
        (words.hours(20), "20 s"),
        (words.money(0.00337), "0.00337"),
        (words.money(1234.5), "1,234.50"),
        (words.money(0), "0.00"),
        (words.percent(0.004), "0.4%"),
        (words.percent(0.05), "5%"),
        (words.percent(-0.05), "-5%"),
        (words.percent(0.996), "100%"),
        (words.short(999.6), "1k"),
        (words.short(90_288), "90.3k"),
        (words.short(0.25), "0.25"),
        (words.size(19_400_000), "19.4 MB"),
        (words.operations(0.509), "509 GFLOP"),
        (words.count(1_234_567), "1,234,567"),
        (words.times(None), "–"),
    ],
)
def test_numbers_are_short(shown, expected):
    assert shown == expected
