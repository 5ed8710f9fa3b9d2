"""A calibration: two short runs of the same sample, with the asked budget and unpruned, for the planner to fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TextIO

from litelvlm.config import UNPRUNED
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset

_SHARDS = 8  # so many points to fit, of which an actor's first is left out


def calibrate(
    config: RunConfig,
    *,
    num_images: int,
    output: str,
    stream: TextIO,
    annotate: Callable[..., int] = annotate_dataset,
) -> list[str]:
    """Annotate the first `num_images` rows twice, into directories below `output`. Returns the two directories.

    A quarter of the images of the pruned run is annotated both ways as well, which measures what pruning changes.

    Raises:
        UsageError: a mistake in the configuration, or too many failed records to measure anything by.
    """
    if num_images < _SHARDS:
        raise UsageError(f"--calibrate-images is {num_images}; it must be at least {_SHARDS}")
    limit = min(num_images, config.source.limit or num_images)
    source = dataclasses.replace(config.source, limit=limit, shard_images=max(1, limit // _SHARDS))
    roots = []
    for name, model, compared in (
        ("pruned", config.model, max(1, limit // 4)),
        ("unpruned", dataclasses.replace(config.model, rule=UNPRUNED, num_retain_tokens=None), 0),
    ):
        root = f"{output.rstrip('/')}/{name}"
        run = dataclasses.replace(
            config, output=root, source=source, model=model, baseline_images=compared, overwrite=True
        )
        print(f"calibrating: {limit} images, {name}", file=stream)
        if annotate(run, stream=stream) != EXIT_DONE:
            raise UsageError(f"the calibration failed: more records failed than --max-failure-rate allows; see {root}")
        roots.append(root)
    return roots
