"""What is counted."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from litelvlm.pipeline.serving.embedding_cache import CacheFacts
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.questions import PhraseAnswer, Reply


def test_answers_are_counted_by_status_and_source() -> None:
    meters = ServiceMeters()
    facts = CacheFacts(entries=2, num_bytes=30, hits=1, misses=1, evictions=0)
    phrases = (PhraseAnswer(status="ok"), PhraseAnswer(status="ok", source="run"))
    meters.answered(phrases, cached=True)
    meters.batch(Reply(phrases=phrases, size_hw=(1, 1), cached_image=True, cache=facts, replica="r", batch_images=3))
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(meters.text().decode())
        for sample in family.samples
    }
    assert found["litelvlm_serve_phrases_total", "model", "ok"] == 1
    assert found["litelvlm_serve_phrases_total", "ok", "run"] == 1
    assert found["litelvlm_serve_cache_bytes", "r"] == 30
    assert found["litelvlm_serve_batch_requests_sum",] == 3
