"""The output directory before any work: claimed by a configuration, refused to any other."""

from __future__ import annotations

import json
from typing import Any

from litelvlm.pipeline.config import RunConfig, describe_differences, redacted
from litelvlm.pipeline.schemas import (
    CONFIG_NAME,
    DONE_DIR,
    MANIFEST_NAME,
    OWNED_DIRS,
    OWNED_NAMES,
    SUCCESS_NAME,
    marker_name,
)
from litelvlm.pipeline.shards.manifest import Plan
from litelvlm.pipeline.storage.store import Storage


def claim_output(storage: Storage, plan: Plan, config: RunConfig) -> bool:
    """Make the output belong to this plan. Returns whether it did before, that is, whether the run resumes.

    Raises:
        ValueError: the output holds a run of another configuration (naming what differs) or files of unknown origin, or
            cannot be written.
    """
    if config.overwrite:
        storage.check_writable()
        clear_output(storage, plan)
    existing = read_config(storage)
    if existing is None:
        _refuse_strangers(storage)
        storage.check_writable()
        storage.write_bytes(MANIFEST_NAME, plan.manifest_bytes())
        content = {"fingerprint": plan.fingerprint, "facts": plan.facts, "config": redacted(config)}
        created = storage.create_exclusive(CONFIG_NAME, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
        if created:
            return False
        # Another driver was faster: go by what it wrote.
    refuse_others(storage, plan, config)
    return True


def refuse_others(storage: Storage, plan: Plan, config: RunConfig) -> None:
    """Raises ValueError when the output holds a run with other settings and may not be overwritten."""
    existing = None if config.overwrite else read_config(storage)
    if existing is None or existing.get("fingerprint") == plan.fingerprint:
        return
    differences = describe_differences(existing.get("facts", {}), plan.facts)
    raise ValueError(
        f"output {storage.root!r} holds a run with other settings; choose another --output, or start over with "
        f"--overwrite. Different: {'; '.join(differences) or 'unknown'}"
    )


def read_config(storage: Storage) -> dict[str, Any] | None:
    """What `config.json` says, None where there is no run."""
    try:
        content = json.loads(storage.read_bytes(CONFIG_NAME))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ValueError(f"output {storage.root!r} cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"output {storage.root!r}: its {CONFIG_NAME} is damaged; start over with --overwrite"
        ) from error
    return content


def clear_output(storage: Storage, plan: Plan) -> None:
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


def _refuse_strangers(storage: Storage) -> None:
    strangers = [name for directory in OWNED_DIRS for name in storage.list(directory)]
    if strangers:
        raise ValueError(
            f"output {storage.root!r} holds {strangers[0]} but no {CONFIG_NAME}: it is not a run of this job; "
            "choose another directory, or remove it with --overwrite"
        )
