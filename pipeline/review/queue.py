"""Making a queue: drawn from the run's records, put in an order for people, written with a page of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.review.config import QueueConfig
from litelvlm.pipeline.review.draw import Drawn, draw
from litelvlm.pipeline.review.population import NO_CLASS, Population, read_population
from litelvlm.pipeline.review.queue_page import write_page
from litelvlm.pipeline.review.queue_table import QUEUE_SCHEMA, RANDOM, TARGETED, Queue, QueueFacts
from litelvlm.pipeline.review.run_records import RunRecords
from litelvlm.pipeline.review.second_opinion import SecondOpinion
from litelvlm.pipeline.review.where import Where
from litelvlm.pipeline.storage.store import Storage

MERGED = "(small ones together)"  # name of the stratum that small ones were merged into
ALL = "(all)"
_COLUMNS = (
    "record", "image_id", "phrase_index", "phrase", "category", "status", "score", "file_name", "image_uri", "height",
    "width", "source_file", "source_row", "mask_rle", "image_hash",
)  # fmt: skip


def make_queue(config: QueueConfig, say: Callable[[str], None]) -> Queue:
    """Draw, order and write a queue.

    Raises:
        UsageError: there is no run, nothing in it to judge, or a setting does not fit.
        DataError, StorageError: the run is damaged, or a store failed.
    """
    source = Storage(config.run, config.storage_options)
    try:
        records = RunRecords(source)
        second = _second_opinion(records, config)
        population = read_population(records, Where(config.where), config.strata, second)
        if not len(population):
            raise ValueError("there is no record to look at" + (" for which --where holds" if config.where else ""))
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    drawn = draw(population, config.num_items, config.random_share, config.seed)
    taken = _taken(records, population, drawn)
    names = _stratum_names(taken, drawn, config.strata)
    queue = Queue(
        items=_items(taken, names, population, drawn, second),
        facts=_facts(records, population, drawn, names, config, second),
    )
    directory, _, name = config.output.rpartition("/")
    output = Storage(directory or ("/" if config.output.startswith("/") else "."), config.storage_options)
    output.write_bytes(name, queue.to_parquet())
    page = name.removesuffix(".parquet") + ".html"
    masks = dict(zip(*(taken.column(name).to_pylist() for name in ("record", "mask_rle")), strict=True))
    write_page(queue, {key: mask for key, mask in masks.items() if mask}, records, output, page, config)
    say(_described(population, queue))
    say(f"done: {queue.items.num_rows} items in {config.output}; pictures in {output.path(page)}")
    return queue


def _taken(records: RunRecords, population: Population, drawn: Drawn) -> pa.Table:
    """The drawn records, in the order of the draw."""
    rows = population.rows[drawn.index]
    ascending = np.argsort(rows, kind="stable")
    back = np.empty_like(ascending)
    back[ascending] = np.arange(len(ascending))
    return records.take(rows[ascending], _COLUMNS).take(pa.array(back)).combine_chunks()


def _second_opinion(records: RunRecords, config: QueueConfig) -> SecondOpinion | None:
    if config.compare is None:
        return None
    return SecondOpinion(config.compare, config.storage_options, records.saved.fingerprint)


def _items(
    taken: pa.Table, names: list[str], population: Population, drawn: Drawn, second: SecondOpinion | None
) -> pa.Table:
    """The drawn records in the order in which to look at them."""
    columns = {name: taken.column(name) for name in _COLUMNS if name in QUEUE_SCHEMA.names} | {
        "risk": pa.array(population.risk[drawn.index]),
        "other_iou": _other_iou(taken, second),
        "part": pa.array(np.where(drawn.is_random, RANDOM, TARGETED)),
        "is_base": pa.array(drawn.is_base),
        "stratum": pa.array(names, pa.string()),
        "inclusion_probability": pa.array(drawn.probability),
    }
    images, hashes = (taken.column(name).to_pylist() for name in ("file_name", "image_hash"))
    order = pa.array(looking_order(images, hashes, drawn.is_random), pa.int64())
    columns = {name: values.take(order) for name, values in columns.items()}
    columns["position"] = pa.array(np.arange(taken.num_rows))
    return pa.table({name: columns[name] for name in QUEUE_SCHEMA.names}).cast(QUEUE_SCHEMA)


def _other_iou(taken: pa.Table, second: SecondOpinion | None) -> pa.Array:
    if second is None:
        return pa.nulls(taken.num_rows, pa.float64())
    iou, _ = second.of(taken.column("record"))
    return pa.array(iou, mask=np.isnan(iou))


def looking_order(images: Sequence[str], hashes: Sequence[str | None], is_random: NDArray[np.bool_]) -> list[int]:
    """Places of items so that those of an image follow each other, and images that look alike, by equal hashes: those
    of the random part first, in its order, then those with the most likely errors. All are given in the order drawn."""
    first: dict[str, int] = {}
    for place, image in enumerate(images):
        first.setdefault(image, place)
    alike: dict[str, int] = {}
    for place, (image, found) in enumerate(zip(images, hashes, strict=True)):
        alike.setdefault(found or f"image {image}", place)

    def rank(place: int) -> tuple[int, int, bool, int]:
        image = images[place]
        return alike[hashes[place] or f"image {image}"], first[image], not is_random[place], place

    return sorted(range(len(images)), key=rank)


def _stratum_names(table: pa.Table, drawn: Drawn, strata: str) -> list[str]:
    if strata == "none":
        return [ALL] * table.num_rows
    names = table.column(strata).to_pylist()
    return [MERGED if not code else name or NO_CLASS for code, name in zip(drawn.stratum.tolist(), names, strict=True)]


def _facts(
    records: RunRecords,
    population: Population,
    drawn: Drawn,
    names: list[str],
    config: QueueConfig,
    second: SecondOpinion | None,
) -> QueueFacts:
    named = dict(zip(drawn.stratum.tolist(), names, strict=True))
    return QueueFacts(
        run=records.saved.fingerprint,
        seed=config.seed,
        where=config.where,
        strata=config.strata,
        random_share=config.random_share,
        num_records=len(population),
        num_answers=int(population.is_answer.sum()),
        compared_with=second.other if second else None,
        strata_sizes={named[code]: size for code, size in drawn.sizes.items() if code in named},
    )


def _described(population: Population, queue: Queue) -> str:
    parts = Counter(queue.items.column("part").to_pylist())
    base = int(pc.sum(queue.items.column("is_base")).as_py() or 0)
    left_out = f"; {population.num_left_out} cannot be judged" if population.num_left_out else ""
    return (
        f"{len(population)} records{left_out}: {parts[RANDOM]} items at random, {base} of them a simple random sample, "
        f"and {parts[TARGETED]} that are most likely wrong"
    )
