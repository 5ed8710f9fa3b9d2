"""What is held, what goes first, and that the bound holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache


def test_the_least_recently_used_goes_first() -> None:
    cache: EmbeddingCache[str] = EmbeddingCache(20)
    cache.put("a", "A", 10)
    cache.put("b", "B", 10)
    assert cache.get("a") == "A"
    cache.put("c", "C", 10)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C")
    facts = cache.facts()
    assert (facts.entries, facts.num_bytes, facts.hits, facts.misses, facts.evictions) == (2, 20, 3, 1, 1)


def test_what_is_too_large_is_not_held_and_lets_nothing_else_go() -> None:
    cache: EmbeddingCache[str] = EmbeddingCache(10)
    cache.put("a", "A", 10)
    cache.put("b", "B", 11)
    assert (cache.get("a"), cache.get("b")) == ("A", None)
    cache.put("a", "larger", 11)  # nor is the older one of the same key
    assert cache.get("a") is None
    assert cache.facts().num_bytes == 0


def test_a_bound_of_nothing_holds_nothing_and_a_negative_one_is_refused() -> None:
    cache: EmbeddingCache[str] = EmbeddingCache(0)
    cache.put("a", "A", 1)
    assert cache.get("a") is None
    with pytest.raises(ValueError, match="max_bytes"):
        EmbeddingCache(-1)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_are_those_of_what_is_held_whatever_threads_do(seed: int) -> None:
    cache: EmbeddingCache[int] = EmbeddingCache(1000)

    def work(number: int) -> None:
        rng = np.random.default_rng((seed, number))
        for key, size in zip(rng.integers(0, 40, 300), rng.integers(1, 300, 300), strict=True):
            found = cache.get(str(key))
            assert found is None or found == key
            cache.put(str(key), int(key), int(size))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    facts = cache.facts()
    assert 0 < facts.num_bytes <= 1000
    assert facts.hits + facts.misses == 1200
    for key in range(40):
        cache.put(str(key), key, 1001)  # lets go of what is held under the key
    assert cache.facts().num_bytes == cache.facts().entries == 0
