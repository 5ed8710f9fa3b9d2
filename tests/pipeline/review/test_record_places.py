"""Keys are found where they were given."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from litelvlm.pipeline.review.record_places import RecordPlaces, key_hash


def test_places_are_those_of_the_keys() -> None:
    keys = [f"{number:016x}-{number % 3}" for number in np.random.default_rng(0).permutation(1_000)]
    columns = [pa.chunked_array([keys[:400], keys[400:600]]), pa.chunked_array([keys[600:]])]
    places = RecordPlaces(columns)
    assert len(places) == 1_000
    asked = pa.chunked_array([[keys[999], "nothing", keys[0]], [keys[450]]])
    assert places.find(asked).tolist() == [999, -1, 0, 450]
    assert places.find(asked.slice(0, 0)).tolist() == []


def test_where_there_are_none_none_is_found() -> None:
    assert RecordPlaces([]).find(pa.chunked_array([["x"]])).tolist() == [-1]


def test_hashes_differ_by_the_phrase() -> None:
    assert len({key_hash(f"0011223344556677-{phrase}") for phrase in range(100)}) == 100
