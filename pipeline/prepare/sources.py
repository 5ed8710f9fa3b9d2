"""From `--input` to the pieces of a source: what it is, which files hold it, which columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa

from litelvlm.pipeline.prepare.arrow_tables import LOGGED, ArrowPiece, arrow_schema, table_version
from litelvlm.pipeline.prepare.coco_json import CocoPiece, coco_pieces
from litelvlm.pipeline.prepare.config import PrepareConfig
from litelvlm.pipeline.prepare.folders import folder_pieces, yolo_classes, yolo_pieces
from litelvlm.pipeline.prepare.pieces import Options, Piece, Source, SourceFile
from litelvlm.pipeline.prepare.tars import TarPiece
from litelvlm.pipeline.prepare.text_tables import CsvPiece, JsonLinesPiece, csv_names, json_schema
from litelvlm.pipeline.storage.filesystems import is_local
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.columns import ColumnMapping, detect_columns
from litelvlm.pipeline.table.footers import all_files
from litelvlm.pipeline.table.kinds import NAMES, Kind, files_of, is_yolo_description, kind_of
from litelvlm.pipeline.table.schema_set import reconcile

_NO_PHRASES = "__no_phrases__"


def open_source(config: PrepareConfig) -> Source:
    """Look at the input: names of files, and headers of tables.

    Raises:
        ValueError: there is nothing, or nothing that this can read, or a file is not what its name says.
        StorageError: a store does not answer, or refuses.
    """
    roots, names, sizes = _names(config)
    kind = cast(Kind | None, config.kind) or kind_of(names)
    shown = " ".join(config.input)
    if kind is None:
        raise ValueError(f"--input {shown}: {len(names)} files, of no kind that is known; name it with --kind")
    files = [SourceFile(path=name, size=sizes[name]) for name in files_of(kind, names)]
    if kind in LOGGED:
        options = config.storage_options
        files = [SourceFile(path=root, size=0, version=table_version(kind, root, options)) for root in roots]
    if not files:
        raise ValueError(f"--input {shown}: no file of {NAMES[kind]} in it")
    if kind in ("images", "yolo"):
        return _folder(config, kind, roots, files, names)
    if kind == "webdataset":
        pieces: list[Piece] = [TarPiece(file=file, options=config.storage_options) for file in files]
        return Source(kind=kind, pieces=pieces, describe=f"{NAMES[kind]}: {len(files)} files")
    if kind == "coco":
        return _coco(config, files)
    return _table(config, kind, files)


def _names(config: PrepareConfig) -> tuple[list[str], list[str], dict[str, int]]:
    """What was given, as the folders or files that it stands for, and the files, sorted, each once."""
    roots: list[str] = []
    sizes: dict[str, int] = {}
    for given in config.input:
        root, found = all_files(given, config.storage_options, output=config.output)
        roots.append(root)
        sizes |= found
    return roots, sorted(sizes), sizes


def _folder(
    config: PrepareConfig, kind: Kind, roots: Sequence[str], files: list[SourceFile], names: Sequence[str]
) -> Source:
    root = config.image_root or _common(roots)
    outside = [file.path for file in files if not file.path.startswith(root.rstrip("/") + "/")]
    if outside:
        raise ValueError(f"--image-root {root}: {outside[0]} lies elsewhere")
    if kind == "images":
        pieces = folder_pieces(root, files)
        return Source(kind=kind, pieces=pieces, describe=f"{len(files)} images below {root}", image_root=root)
    described = next((name for name in names if is_yolo_description(name)), None)
    if described is None:
        raise ValueError(f"--input {' '.join(config.input)}: no data.yaml and no classes.txt names the classes")
    with RangeFile(described, config.storage_options) as raw:
        classes = yolo_classes(described, raw.read((1 << 20) + 1))
    return Source(
        kind=kind,
        pieces=yolo_pieces(root, files, classes, config.storage_options),
        describe=f"{NAMES[kind]}: {len(files)} images, {len(classes)} classes",
        image_root=root,
        has_masks=True,
    )


def _coco(config: PrepareConfig, files: Sequence[SourceFile]) -> Source:
    pieces: list[Piece] = []
    has_masks = False
    for file in files:
        found, masks = coco_pieces(file, config.storage_options)
        pieces, has_masks = pieces + found, has_masks or masks
    root = config.image_root or os.path.dirname(files[0].path)
    images = sum(len(cast(CocoPiece, piece).images) for piece in pieces)
    describe = f"{NAMES['coco']}: {images} images" + (", with masks" if has_masks else "")
    return Source(kind="coco", pieces=pieces, describe=describe, image_root=root, has_masks=has_masks)


def _table(config: PrepareConfig, kind: Kind, files: Sequence[SourceFile]) -> Source:
    options = config.storage_options
    schemas = [_schema(kind, file, options) for file in files]
    mappings = []
    for file, schema in zip(files, reconcile(schemas), strict=True):
        try:
            mappings.append(_mapping(schema, config))
        except ValueError as error:
            raise ValueError(f"{file.path}: {error}") from error
    pieces: list[Piece] = [
        _table_piece(kind, file, mapping, options) for file, mapping in zip(files, mappings, strict=True)
    ]
    root = config.image_root
    if root is None and kind in ("csv", "tsv", "jsonl") and mappings[0].image_kind == "uri":
        root = os.path.dirname(files[0].path)
    return Source(
        kind=kind,
        pieces=pieces,
        describe=f"{NAMES[kind]}: {len(files)} files, {_shown(mappings[0])}",
        image_root=root,
    )


def _schema(kind: Kind, file: SourceFile, options: Options) -> pa.Schema:
    if kind == "jsonl":
        return json_schema(file, options)
    if kind in ("csv", "tsv"):
        return pa.schema([(name, pa.string()) for name in csv_names(kind, file, options)])
    return arrow_schema(kind, file, options)


def _mapping(schema: pa.Schema, config: PrepareConfig) -> ColumnMapping:
    """The columns; with `--phrases` or `--ontology` a table needs none for them."""
    flags: dict[str, Any] = {
        "image_column": config.image_column,
        "phrase_column": config.phrase_column,
        "id_column": config.id_column,
        "image_index": config.image_index,
    }
    try:
        return detect_columns(schema, **flags)
    except ValueError:
        if (config.phrases is None and config.ontology is None) or config.phrase_column:
            raise
    with_phrases = schema.append(pa.field(_NO_PHRASES, pa.list_(pa.string())))
    return detect_columns(with_phrases, **flags | {"phrase_column": _NO_PHRASES})


def _shown(mapping: ColumnMapping) -> str:
    return mapping.describe().replace(f"phrase={_NO_PHRASES}, ", "")


def _table_piece(kind: Kind, file: SourceFile, mapping: ColumnMapping, options: Options) -> Piece:
    if kind in ("csv", "tsv"):
        return CsvPiece(kind=kind, file=file, mapping=mapping, options=options)
    if kind == "jsonl":
        return JsonLinesPiece(file=file, mapping=mapping, options=options)
    return ArrowPiece(kind=kind, file=file, mapping=mapping, options=options)


def _common(roots: Sequence[str]) -> str:
    """The folder that holds everything that was given."""
    folders = [root if not root.lower().endswith(_file_endings()) else os.path.dirname(root) for root in roots]
    shared = folders[0].split("/")
    for folder in folders[1:]:
        parts = folder.split("/")
        shared = [one for one, other in zip(shared, parts, strict=False) if one == other]
    root = "/".join(shared)
    if not is_local(root) and root.count("/") < 3:
        return root
    return root or "/"


def _file_endings() -> tuple[str, ...]:
    from litelvlm.pipeline.table.kinds import IMAGE_ENDINGS

    return (*IMAGE_ENDINGS, ".yaml", ".txt")
