"""Cores are images a second times seconds of a core."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import host
from benchmarks.gpu.release import TABLE
from benchmarks.gpu.session import Findings, Session
from benchmarks.synthetic import jpeg
from litelvlm.pipeline.images.decode import decode_image

SETTING = {"phrases_per_image": 3, "tokens": 192, "layout": "separate", "images_per_s": 50.0, "mfu_needed": 0.6}


def test_cores_by_hand() -> None:
    preparing = [{"size": "1 MP", "resizing": "exact", "ms": 18.0}, {"size": "1 MP", "resizing": "fast", "ms": 8.0}]
    assert host.cores_row(SETTING, preparing) == {
        "phrases_per_image": 3, "tokens": 192, "layout": "separate", "images_per_s": 50.0,
        "1 MP exact": 0.9, "1 MP fast": 0.4,
    }  # fmt: skip


def test_both_ways_of_resizing_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SIZES_HW", {"tiny": (48, 64)})
    session, found = Session("small", torch.device("cpu"), tmp_path, 60), Findings(title="host")
    threads = torch.get_num_threads()
    host.run(session, found)
    preparing, cores = found.tables.values()
    assert [row["resizing"] for row in preparing] == ["exact", "fast"]
    assert all(row["ms"] > 0 for row in preparing)
    assert cores == []
    assert found.notes, "nothing was measured before"
    session.findings["release"] = Findings(title="release", tables={TABLE: [SETTING]})
    found = Findings(title="host")
    host.run(session, found)
    assert [row["tokens"] for row in found.tables["cores that decode for one device"]] == [192]
    assert torch.get_num_threads() == threads


def test_a_drawn_picture_is_a_jpeg_of_its_size() -> None:
    data = jpeg((96, 128))
    assert decode_image(data).rgb.shape == (96, 128, 3)
    assert data == jpeg((96, 128))
