"""Making a table: the pieces of a source beside each other in Ray tasks, each done once, whatever dies."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import ray

from litelvlm.pipeline.cluster import ray_session
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.output.parallel import Tasks
from litelvlm.pipeline.prepare.config import PrepareConfig
from litelvlm.pipeline.prepare.grouping import SCATTERED, gather, scatter
from litelvlm.pipeline.prepare.pieces import Notes, Piece, Source
from litelvlm.pipeline.prepare.sources import open_source
from litelvlm.pipeline.prepare.write import DONE, Counts, WritePlan, write_piece
from litelvlm.pipeline.schemas import SUCCESS_NAME
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.storage.store import Storage

CLAIM = "_prepare.json"
_MAX_PHRASES_BYTES = 16 << 20
_MAX_PHRASES = 10_000
_BIN_BYTES = 256 << 20
_MAX_BINS = 1_000
_BLIND_BINS = 256
_OWN = ("part-", f"{DONE}/", f"{SCATTERED}/", SUCCESS_NAME)  # what the names of a table begin with


def prepare(config: PrepareConfig, say: Callable[[str], None]) -> int:
    """Make a table, or go on with one. Returns its number of rows.

    Raises:
        UsageError: the input, or a setting, does not fit.
        RunError, StorageError: the cluster or a store failed; what is done stays, and running it again goes on.
    """
    try:
        source = open_source(config)
        phrases = _phrases(config)
        plan = _plan(config, source, phrases)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        raise UsageError(str(error)) from error
    say(f"input: {source.describe}")
    _claim(config, source, phrases, plan.storage)
    if plan.storage.exists(SUCCESS_NAME):
        totals = Counts.from_json(plan.storage.read_bytes(SUCCESS_NAME))
        say(f"{config.output} is complete: {totals.rows} rows; nothing to do")
    else:
        with ray_session(config.cluster):
            try:
                totals = _work(config, source, plan)
            except ValueError as error:
                raise UsageError(str(error)) from error
        plan.storage.write_bytes(SUCCESS_NAME, totals.to_json())
        plan.storage.delete(plan.storage.list(SCATTERED))
    for line in _lines(config, source, totals):
        say(line)
    return totals.rows


def _work(config: PrepareConfig, source: Source, plan: WritePlan) -> Counts:
    totals, notes = Counts(), Notes()
    bar = RowBar(None)
    try:
        for counts in _counts(config, source.pieces, plan):
            totals.rows += counts.rows
            totals.phrases += counts.phrases
            totals.parts += counts.parts
            totals.without_phrases += counts.without_phrases
            notes.merge(counts.notes)
            bar.advance(counts.rows, f"{totals.phrases} phrases")
    finally:
        bar.close()
    totals.notes = notes.found
    return totals


def _counts(config: PrepareConfig, pieces: Sequence[Piece], plan: WritePlan) -> Iterator[Counts]:
    """What became of each piece, in order."""
    if config.group_images:
        num_bins = _num_bins(pieces, embeds=plan.policy is not None)
        for counts in _each(config, plan, pieces, partial(scatter, num_bins=num_bins)):
            yield Counts(notes=counts.notes)
        tasks = Tasks(beside=ray.is_initialized())
        for (counts,) in tasks.ordered(lambda number: (gather(plan, number),), range(num_bins), num_kept=0):
            yield counts
    else:
        yield from _each(config, plan, pieces, write_piece)


def _each(config: PrepareConfig, plan: WritePlan, pieces: Sequence[Piece], work: Any) -> Iterator[Counts]:
    if config.limit is not None:  # one after the other, since what a piece holds shows when it is read
        left = config.limit
        for number, piece in enumerate(pieces):
            if left > 0:
                counts = work(_limited(plan, left), number, piece)
                left -= counts.rows
                yield counts
        return
    tasks = Tasks(beside=ray.is_initialized() and len(pieces) > 1)
    numbered = list(enumerate(pieces))
    for (counts,) in tasks.ordered(lambda one: (work(plan, one[0], one[1]),), numbered, num_kept=0):
        yield counts


def _limited(plan: WritePlan, left: int) -> WritePlan:
    return WritePlan(**{name: getattr(plan, name) for name in plan.__dataclass_fields__} | {"limit": left})


def _num_bins(pieces: Sequence[Piece], *, embeds: bool) -> int:
    """By the sizes of the files; many where those do not tell, as of tables that only name the images they get."""
    sizes = {file.path: file.size for piece in pieces if (file := getattr(piece, "file", None)) is not None}
    if embeds or not all(sizes.values()):
        return _BLIND_BINS
    return max(1, min(_MAX_BINS, -(-4 * sum(sizes.values()) // _BIN_BYTES)))


def _plan(config: PrepareConfig, source: Source, phrases: tuple[str, ...]) -> WritePlan:
    policy = None
    if config.embed_images:
        policy = UriPolicy.for_input(
            config.input[0], image_root=source.image_root, allowed_prefixes=config.allow_prefixes
        )
    return WritePlan(
        storage=Storage(config.output, config.storage_options),
        rows_per_group=config.rows_per_group,
        has_masks=source.has_masks,
        phrases=phrases,
        policy=policy,
    )


def _phrases(config: PrepareConfig) -> tuple[str, ...]:
    if config.phrases is None:
        return config.ontology.prompts if config.ontology else ()
    if config.ontology is not None:
        raise ValueError("--phrases and --ontology: both say what is asked of images without phrases; give one")
    with RangeFile(config.phrases, config.storage_options) as raw:
        data = raw.read(_MAX_PHRASES_BYTES + 1)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--phrases {config.phrases}: is not text in UTF-8") from error
    phrases = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not phrases or len(phrases) > _MAX_PHRASES or len(data) > _MAX_PHRASES_BYTES:
        raise ValueError(
            f"--phrases {config.phrases}: holds {len(phrases)} phrases; it must be 1 to {_MAX_PHRASES}, a line each"
        )
    return phrases


def _claim(config: PrepareConfig, source: Source, phrases: tuple[str, ...], storage: Storage) -> None:
    """Note what is made, or refuse a directory in which something else is."""
    facts = {
        "kind": source.kind,
        "pieces": hashlib.sha256("\n".join(piece.identity for piece in source.pieces).encode()).hexdigest(),
        "phrases": list(phrases),
        "image_root": source.image_root,
        "allow_prefixes": sorted(config.allow_prefixes) if config.embed_images else [],
        **{
            name: getattr(config, name)
            for name in ("embed_images", "group_images", "rows_per_group", "limit", "image_index")
        },
    }
    mine = json.loads(json.dumps(facts))
    try:
        there = json.loads(storage.read_bytes(CLAIM))
    except FileNotFoundError:
        there = None
    except ValueError:
        there = {}
    if there == mine and not config.overwrite:
        return
    names = storage.whole_files()
    if there is None and names:
        raise UsageError(
            f"--output {config.output}: holds something else, such as {names[0]}; choose another directory"
        )
    if there is not None and not config.overwrite:
        differing = ", ".join(name for name in mine if there.get(name) != mine[name])
        raise UsageError(
            f"--output {config.output}: holds a table of another input or setting ({differing}); choose another "
            "directory, or remove it with --overwrite"
        )
    storage.delete([name for name in names if name.startswith(_OWN)])
    storage.write_bytes(CLAIM, json.dumps(mine).encode() + b"\n")


def _lines(config: PrepareConfig, source: Source, totals: Counts) -> Iterator[str]:
    notes = Notes(totals.notes)
    yield from notes.lines()
    if totals.without_phrases:
        ways = "--phrases FILE or --ontology YAML"
        yield f"{totals.without_phrases} rows ask for nothing and will fail; give {ways} for them"
    yield f"done: {totals.rows} rows, {totals.phrases} phrases in {totals.parts} files: {config.output}"
    command = f"python jobs/annotate.py --input {shlex.quote(config.output)} --output RUN"
    if source.image_root is not None and not config.embed_images:
        command += f" --image-root {shlex.quote(source.image_root)}"
    if source.has_masks:
        command += " --mask-column masks"
    if config.ontology is not None:
        command += " --ontology YAML"
    yield f"next: {command}"
