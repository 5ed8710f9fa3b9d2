"""What is made into a table, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

from litelvlm.pipeline.config import ClusterConfig, StorageOptions
from litelvlm.pipeline.ontology import Ontology, read_ontology
from litelvlm.pipeline.settings import Flag, Part, Settings
from litelvlm.pipeline.table.kinds import KINDS


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """Settings of `jobs/prepare.py`."""

    input: Annotated[
        tuple[str, ...], Flag("files, folders or patterns; local or s3:// and the like", metavar="PATH", repeat=True)
    ]
    output: Annotated[str, Flag("directory of the table", metavar="DIR")]
    kind: Annotated[str | None, Flag("what the input is", choices=KINDS, unset="told by its files")] = None
    phrases: Annotated[
        str | None, Flag("text file, a phrase a line, asked of every image that has none of its own", metavar="FILE")
    ] = None
    ontology: Annotated[
        Ontology | None,
        Flag(
            "classes whose prompts are asked of every image that has no phrases", metavar="YAML", before=read_ontology
        ),
    ] = None
    image_root: Annotated[
        str | None, Flag("what relative image paths start from", unset="the folder of the file that names them")
    ] = None
    allow_prefixes: Annotated[
        tuple[str, ...],
        Flag(
            "with --embed-images: images may come from here, too", option="--allow-prefix", metavar="URI", repeat=True
        ),
    ] = ()
    embed_images: Annotated[bool, Flag("put the images themselves into the table")] = False
    group_images: Annotated[bool, Flag("bring the scattered phrases of an image together in one row")] = False
    rows_per_group: Annotated[int, Flag("rows a row group: those of a shard are best"), Ge(1)] = 64
    limit: Annotated[int | None, Flag("the first N rows only", unset="all"), Ge(1)] = None
    image_column: Annotated[str | None, Flag("of tables", unset="found by name")] = None
    image_index: Annotated[int | None, Flag("which image of a list, from 0", unset="the only one"), Ge(0)] = None
    phrase_column: Annotated[str | None, Flag("of tables", unset="found by name")] = None
    id_column: Annotated[str | None, Flag("of tables; '' for none", unset="found by name")] = None
    overwrite: Annotated[bool, Flag("remove a table that is there")] = False
    cluster: Annotated[
        ClusterConfig, Part(without=("num_actors", "gpus_per_actor", "batch_images", "wait_for_resources"))
    ] = field(default_factory=ClusterConfig)
    storage_options: StorageOptions = field(default_factory=dict)
