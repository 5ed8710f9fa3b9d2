"""The whole Ray pipeline against the engine alone, on the same records, in turns.

    python -m benchmarks.pipeline                    # the shipped checkpoint, 2,000 records, on this machine's CPU
    python -m benchmarks.pipeline --device cuda

`engine` annotates images that lie prepared in memory. `script` is one process from Parquet to COCO strings without Ray:
it reads, decodes, annotates and encodes, one after the other. `pipeline` is `jobs/annotate.py`'s own run, from the
moment at which its actor has the model loaded to the last commit; `whole_run` is all of it, with Ray's start, the
model's loading, the merge and the report.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.hardware import describe
from litelvlm import Annotator
from litelvlm.demo.scenes import draw_scene
from litelvlm.pipeline.config import InputConfig, ModelConfig, RunConfig
from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.masks import encode_answers
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.stages.engine import LiteLVLMEngine
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES

RESULTS = Path(__file__).parent / "results"
PHRASES = 3
TOKENS = 48
RULE = "context"


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model = ModelConfig(model="demo", device=options.device, num_retain_tokens=TOKENS, rule=RULE)
    engine = LiteLVLMEngine(model=model).on_device(options.device)
    annotator = engine.annotator(None)
    rates: dict[str, list[float]] = {"engine": [], "script": [], "pipeline": [], "whole_run": []}
    with tempfile.TemporaryDirectory() as directory:
        table, count = draw(Path(directory) / "scenes.parquet", options.records)
        for number in range(options.rounds):
            rates["engine"].append(count / run_engine(engine, annotator, table))
            rates["script"].append(count / run_script(engine, annotator, table))
            steady_s, whole_s = run_pipeline(model, table, Path(directory) / f"run{number}")
            rates["pipeline"].append(count / steady_s)
            rates["whole_run"].append(count / whole_s)
            print({name: round(values[-1], 1) for name, values in rates.items()}, flush=True)
    write(options.device, count, rates)


def draw(path: Path, num_records: int) -> tuple[Path, int]:
    """A Parquet file of drawn scenes, `PHRASES` phrases each; and how many records that are."""
    rows, count, seed = [], 0, 3_000_000_000
    while count < num_records:
        scene = draw_scene(seed)
        seed += 1
        phrases = list(scene.phrases)[: min(PHRASES, num_records - count)]
        buffer = io.BytesIO()
        Image.fromarray(scene.image).save(buffer, "JPEG", quality=90)
        rows.append({"image_id": str(seed), "image": buffer.getvalue(), "phrases": phrases})
        count += len(phrases)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=64)
    return path, count


def loaded(engine: LiteLVLMEngine, table: Path) -> Iterator[list[tuple[object, list[str]]]]:
    """Prepared images and checked phrases, a call's worth at a time."""
    preprocessor = engine.preprocessor()
    for batch in pq.ParquetFile(table).iter_batches(CALL_IMAGES):
        yield [
            (
                preprocessor.prepare(decode_image(row["image"]).rgb),
                [engine.check_phrase(preprocessor, phrase) for phrase in row["phrases"]],
            )
            for row in batch.to_pylist()
        ]


def annotate(engine: LiteLVLMEngine, annotator: Annotator, call: list[tuple[object, list[str]]]) -> None:
    """Annotates a call's images and encodes their masks."""
    images, phrases = zip(*call, strict=True)
    for result in engine.annotate(annotator, list(images), list(phrases)):
        list(encode_answers(result))


def run_engine(engine: LiteLVLMEngine, annotator: Annotator, table: Path) -> float:
    """Seconds of annotating what lies in memory."""
    calls = list(loaded(engine, table))
    started = time.perf_counter()
    for call in calls:
        annotate(engine, annotator, call)
    return time.perf_counter() - started


def run_script(engine: LiteLVLMEngine, annotator: Annotator, table: Path) -> float:
    """Seconds from Parquet to COCO strings without Ray."""
    started = time.perf_counter()
    for call in loaded(engine, table):
        annotate(engine, annotator, call)
    return time.perf_counter() - started


def run_pipeline(model: ModelConfig, table: Path, output: Path) -> tuple[float, float]:
    """Seconds of the run from the loaded model to the last commit, and of all of it."""
    config = RunConfig(output=str(output), source=InputConfig(input=(str(table),)), model=model)
    started = time.perf_counter()
    code = annotate_dataset(config)
    whole_s = time.perf_counter() - started
    assert code == 0, f"the run ended with {code}"
    shards = pq.read_table(output / "throughput.parquet").to_pylist()
    ready = min(row["actor_from"] + row["startup_s"] for row in shards)
    return max(row["finished_at"] for row in shards) - ready, whole_s


def write(device: str, num_records: int, rates: dict[str, list[float]]) -> None:
    """The result, with ratios of medians."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    content = {
        "hardware": describe(),
        "records": num_records,
        "phrases_per_image": PHRASES,
        "tokens": TOKENS,
        "rule": RULE,
        "phrases_per_s": {name: round(value, 2) for name, value in medians.items()},
        "spread": {name: [round(min(values), 2), round(max(values), 2)] for name, values in rates.items()},
        "pipeline_against_engine": round(medians["pipeline"] / medians["engine"], 3),
        "pipeline_against_script": round(medians["pipeline"] / medians["script"], 3),
        "whole_run_against_script": round(medians["whole_run"] / medians["script"], 3),
    }
    print(json.dumps(content, indent=1))
    (RESULTS / f"pipeline_{device}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
