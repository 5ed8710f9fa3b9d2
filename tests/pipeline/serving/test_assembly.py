"""A service from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.serving.assembly import assemble
from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.embedding_cache import EmbeddingCache
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.worker import Worker
from tests.pipeline.serving.doubles import Backend, Model


def test_facts_are_the_models_and_phrases_are_checked_by_its_tokenizer() -> None:
    backend = Backend(Worker(Model(), EmbeddingCache(0)))
    service, _ = assemble(ServeConfig(), backend, ServiceMeters())
    facts = service.facts
    assert facts.num_visual_tokens == 144
    assert facts.key.endswith(":exact")
    assert facts.version.startswith("litelvlm-")
    assert facts.check_phrase(" The Dog ") == "the dog"
    with pytest.raises(ValueError, match="tokens"):
        facts.check_phrase("dog " * 400)


def test_a_run_that_is_none_is_told(tmp_path: Path) -> None:
    backend = Backend(Worker(Model(), EmbeddingCache(0)))
    with pytest.raises(ValueError, match="no run"):
        assemble(ServeConfig(run=(str(tmp_path),)), backend, ServiceMeters())
