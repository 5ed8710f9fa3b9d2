"""One collection of images and phrases, as teams keep it: in every kind that can be prepared."""

from __future__ import annotations

import base64
import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pycocotools import mask as coco_mask

from tests.pipeline.samples import png

SIZE_HW = (24, 36)
NAMES = ["a.png", "sub dir/b #1.png", "sub dir/ü.png", "z/z/100%.png"]
PHRASES = [["the red box"], ["a dog", "the red box"], ["blue thing"], ["a dog"]]
CLASSES = ["a dog", "blue thing", "the red box"]
#: A corner of the image, for each phrase of each image.
BOX = (6, 4, 12, 10)  # left, top, width, height in pixels


def image(number: int) -> bytes:
    """A PNG of one colour."""
    return png(np.full((*SIZE_HW, 3), 40 + 50 * number, np.uint8))


def images(root: Path) -> Path:
    """The folder of images."""
    for number, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number))
    return root


def true_mask() -> np.ndarray:
    """(H, W) bool: what every phrase means."""
    mask = np.zeros(SIZE_HW, np.uint8)
    left, top, width, height = BOX
    mask[top : top + height, left : left + width] = 1
    return mask


def make_csv(root: Path, delimiter: str = ",", suffix: str = "csv") -> Path:
    """A row for each phrase, paths relative to the file."""
    images(root)
    with (root / f"list.{suffix}").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["image_id", "image_path", "phrase"])
        for number, (name, phrases) in enumerate(zip(NAMES, PHRASES, strict=True)):
            writer.writerows([[f"00{number}", name, phrase] for phrase in phrases])
    return root / f"list.{suffix}"


def make_jsonl(root: Path) -> Path:
    """A line for each image, the images as base64 and as data: URIs."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (name, phrases) in enumerate(zip(NAMES, PHRASES, strict=True)):
        text = base64.b64encode(image(number)).decode()
        text = text if number % 2 else f"data:image/png;base64,{text}"
        lines.append(json.dumps({"id": name, "image": text, "phrases": phrases}, ensure_ascii=False))
    (root / "list.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "list.jsonl"


def coco_content(segmentation: Any) -> dict[str, Any]:
    """Categories as phrases."""
    listed = [
        {"id": number + 1, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]}
        for number, name in enumerate(NAMES)
    ]
    annotations = [
        {"id": 10 * number + place, "image_id": number + 1, "category_id": CLASSES.index(phrase) + 1, "iscrowd": 0,
         "segmentation": segmentation, "bbox": list(BOX), "area": BOX[2] * BOX[3]}
        for number, phrases in enumerate(PHRASES) for place, phrase in enumerate(phrases)
    ]  # fmt: skip
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    return {"images": listed, "annotations": annotations, "categories": categories}


def make_coco(root: Path) -> Path:
    """COCO json with polygons beside its images."""
    images(root)
    left, top, width, height = BOX
    outline = [left, top, left + width, top, left + width, top + height, left, top + height]
    (root / "instances.json").write_text(json.dumps(coco_content([outline])))
    return root / "instances.json"


def compressed() -> dict[str, Any]:
    """The true mask as COCO's run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(true_mask()))
    return {"size": list(SIZE_HW), "counts": encoded["counts"].decode()}


def make_yolo(root: Path) -> Path:
    """YOLO-seg: labels beside the images, classes in data.yaml."""
    images(root / "images")
    left, top, width, height = BOX
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    outline = " ".join(f"{x / SIZE_HW[1]:.6f} {y / SIZE_HW[0]:.6f}" for x, y in corners)
    for name, phrases in zip(NAMES, PHRASES, strict=True):
        path = (root / "labels" / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{CLASSES.index(phrase)} {outline}\n" for phrase in phrases))
    (root / "data.yaml").write_text(yaml.safe_dump({"names": dict(enumerate(CLASSES)), "path": "."}))
    return root


def make_tar(root: Path) -> Path:
    """A WebDataset tar: text and JSON beside the images."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "shard-000.tar", "w") as tar:
        for number, (name, phrases) in enumerate(zip(NAMES, PHRASES, strict=True)):
            key = name.removesuffix(".png")
            add(tar, name, image(number))
            if number % 2:
                add(tar, f"{key}.json", json.dumps({"caption": phrases, "other": 1}).encode())
            else:
                add(tar, f"{key}.txt", "\n".join(phrases).encode())
    return root / "shard-000.tar"


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def table() -> pa.Table:
    """The collection as a table with the images in it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": image(number), "path": name} for number, name in enumerate(NAMES)]
    return pa.table({"image_id": NAMES, "image": pa.array(cells, kind), "phrases": PHRASES})


def make_parquet(root: Path) -> Path:
    """Two files of Parquet."""
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(table().slice(0, 2), root / "0.parquet")
    pq.write_table(table().slice(2), root / "1.parquet")
    return root


def make_datasets(root: Path) -> Path:
    """What `Dataset.save_to_disk` leaves: Arrow streams and their descriptions."""
    root.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((table().slice(0, 2), table().slice(2))):
        path = root / f"data-{number:05d}-of-00002.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
    (root / "dataset_info.json").write_text("{}")
    (root / "state.json").write_text("{}")
    return root


def make_delta(root: Path) -> Path:
    """A Delta table with rows that an overwrite removed; their files still lie there."""
    from deltalake import write_deltalake

    write_deltalake(str(root / "t"), pa.concat_tables([table(), table()]))
    write_deltalake(str(root / "t"), table(), mode="overwrite")
    return root / "t"


def make_lance(root: Path) -> Path:
    """A Lance table."""
    import lance

    root.mkdir(parents=True, exist_ok=True)
    lance.write_dataset(table(), str(root / "t.lance"))
    return root / "t.lance"


def make_iceberg(root: Path) -> Path:
    """An Iceberg table with rows that an overwrite removed."""
    from pyiceberg.catalog.memory import InMemoryCatalog

    catalog = InMemoryCatalog("tests", warehouse=f"file://{root}")
    catalog.create_namespace("n")
    written = catalog.create_table("n.t", schema=table().schema)
    written.append(pa.concat_tables([table(), table()]))
    written.overwrite(table())
    return root / "n/t"


def append_rows(kind: str, path: Path) -> None:
    """A newer version of a table with a log, with all its rows twice."""
    if kind == "delta":
        from deltalake import write_deltalake

        write_deltalake(str(path), table(), mode="append")
    elif kind == "lance":
        import lance

        lance.write_dataset(table(), str(path), mode="append")
    else:
        from pyiceberg.catalog.memory import InMemoryCatalog

        catalog = InMemoryCatalog("later", warehouse=f"file://{path.parents[1]}")
        catalog.create_namespace("n")
        newest = max((path / "metadata").glob("*.metadata.json"))
        catalog.register_table("n.t", f"file://{newest}").append(table())


KINDS: dict[str, Callable[[Path], Path]] = {
    "csv": make_csv,
    "tsv": lambda root: make_csv(root, "\t", "tsv"),
    "jsonl": make_jsonl,
    "coco": make_coco,
    "yolo": make_yolo,
    "webdataset": make_tar,
    "parquet": make_parquet,
    "datasets": make_datasets,
    "delta": make_delta,
    "lance": make_lance,
    "iceberg": make_iceberg,
}
