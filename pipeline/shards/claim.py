"""The output directory before any work: claimed by a configuration, refused to any other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from litelvlm.pipeline.config import RunConfig, describe_differences, redacted
from litelvlm.pipeline.contracts import Contract
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import (
    ATTEMPTS_DIR,
    CONFIG_NAME,
    DONE_DIR,
    MANIFEST_NAME,
    OWNED_DIRS,
    OWNED_NAMES,
    RUN_NAME,
    SUCCESS_NAME,
    marker_name,
)
from litelvlm.pipeline.shards.manifest import Manifest, RunPlan
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class SavedRun(Contract):
    """`config.json`: what an output was claimed for.

    Attributes:
        fingerprint: of the facts.
        facts: everything that decides the run's results, as flat JSON values.
        config: the whole configuration, the values of its storage options left out.
    """

    indent: ClassVar[int | None] = 1

    fingerprint: str
    facts: dict[str, Any]
    config: RunConfig

    def config_with(self, storage_options: dict[str, Any]) -> RunConfig:
        """The configuration with its storage options, which are given again: secrets were not kept."""
        return dataclasses.replace(self.config, storage_options=storage_options)


def claim_output(storage: Storage, plan: RunPlan, config: RunConfig) -> bool:
    """Make the output belong to this plan. Returns whether it did before, that is, whether the run resumes.

    Raises:
        ValueError: as `refuse_others` and `check_claim`, of what came since.
    """
    if config.overwrite:
        clear_output(storage, plan)
    if find_run(storage) is None:
        _refuse_strangers(storage)
        storage.write_bytes(MANIFEST_NAME, Manifest(shards=plan.shards).to_parquet())
        claim = SavedRun(fingerprint=plan.fingerprint, facts=plan.facts, config=redacted(config))
        if storage.create_exclusive(CONFIG_NAME, claim.to_json()):
            return False
        # Another driver was faster: go by what it wrote.
    refuse_others(storage, plan, config)
    return True


def check_claim(storage: Storage, config: RunConfig) -> None:
    """Whether an output that `refuse_others` lets pass can be claimed; at most an empty directory stays.

    Raises:
        ValueError: it holds files of unknown origin, or cannot be written.
    """
    if not config.overwrite:
        if find_run(storage) is not None:
            return
        _refuse_strangers(storage)
    storage.check_writable()


def refuse_others(storage: Storage, plan: RunPlan, config: RunConfig) -> None:
    """Raises ValueError when the output holds a run with other settings and may not be overwritten."""
    existing = None if config.overwrite else find_run(storage)
    if existing is None or existing.fingerprint == plan.fingerprint:
        return
    differences = describe_differences(existing.facts, plan.facts)
    raise ValueError(
        f"output {storage.root!r} holds a run with other settings; choose another --output, or start over with "
        f"--overwrite. Different: {'; '.join(differences) or 'unknown'}"
    )


def find_run(storage: Storage) -> SavedRun | None:
    """What `config.json` says, None where there is no run. Raises ValueError where it cannot be read."""
    try:
        return SavedRun.from_json(storage.read_bytes(CONFIG_NAME), CONFIG_NAME)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ValueError(f"output {storage.root!r} cannot be read: {error}") from error
    except DataError as error:
        raise ValueError(f"output {storage.root!r}: {error}; start over with --overwrite") from error


def claimed_run(storage: Storage) -> SavedRun:
    """The same of an output that must hold a run. Raises ValueError where it does not."""
    found = find_run(storage)
    if found is None:
        raise ValueError(f"output {storage.root!r} holds no run: there is no {CONFIG_NAME}")
    return found


def clear_output(storage: Storage, plan: RunPlan) -> None:
    """Remove everything a run writes, and nothing else; what makes it count as a run goes first.

    Markers that the new plan would look for are removed by name as well: where listings lag, one that is not listed yet
    would pass for work that is done.
    """
    was_run = storage.exists(CONFIG_NAME)
    storage.delete([SUCCESS_NAME, CONFIG_NAME])
    if was_run and not storage.local:
        storage.delete(marker_name(shard.shard_id) for shard in plan.shards)
    for directory in (DONE_DIR, *OWNED_DIRS):
        storage.delete(storage.list(directory))
    storage.delete(OWNED_NAMES)


def release_claim(storage: Storage) -> None:
    """Give up the claim of a run that committed nothing, so that the corrected command is not refused."""
    storage.delete([CONFIG_NAME, MANIFEST_NAME, RUN_NAME, *storage.list(ATTEMPTS_DIR)])


def _refuse_strangers(storage: Storage) -> None:
    strangers = [name for directory in OWNED_DIRS for name in storage.list(directory)]
    if strangers:
        raise ValueError(
            f"output {storage.root!r} holds {strangers[0]} but no {CONFIG_NAME}: it is not a run of this job; "
            "choose another directory, or remove it with --overwrite"
        )
