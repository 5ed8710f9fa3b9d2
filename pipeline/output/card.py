"""`README.md`: tells `datasets.load_dataset(DIR)` which of an output's files are the records."""

from __future__ import annotations

from litelvlm.pipeline.schemas import CARD_NAME, NAMES_NAME, RECORDS_DIR
from litelvlm.pipeline.storage.store import Storage

_HEAD = f"""---
configs:
- config_name: records
  data_files: {RECORDS_DIR}/*.parquet
  default: true
"""
_NAMES = f"""- config_name: names
  data_files: {NAMES_NAME}
"""
_TEXT = """---

A row per image and phrase in `records/`, masks as COCO's compressed run lengths; the same as COCO files in
`annotations/`.
"""


def write_card(storage: Storage, *, names: bool) -> None:
    """Write the card, `names` saying whether there is a table of images, unless somebody has written another."""
    try:
        there = storage.read_bytes(CARD_NAME)
    except FileNotFoundError:
        there = b""
    if not there or there.startswith(_HEAD.encode()):
        storage.write_bytes(CARD_NAME, (_HEAD + (_NAMES if names else "") + _TEXT).encode())
