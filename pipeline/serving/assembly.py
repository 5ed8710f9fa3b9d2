"""A service from its settings: what it needs besides replicas."""

from __future__ import annotations

from litelvlm.pipeline.serving.config import ServeConfig
from litelvlm.pipeline.serving.corrections import Corrections
from litelvlm.pipeline.serving.images import ImageReader
from litelvlm.pipeline.serving.known_answers import KnownAnswers
from litelvlm.pipeline.serving.label_studio import LabelStudioBackend
from litelvlm.pipeline.serving.metrics import ServiceMeters
from litelvlm.pipeline.serving.service import AnnotationService, Backend, ServedModelFacts
from litelvlm.pipeline.stages.engine import LiteLVLMEngine
from litelvlm.pipeline.storage.store import Storage

_VERSION_CHARS = 12


def model_facts(engine: LiteLVLMEngine) -> ServedModelFacts:
    """What a service says of its model. Raises ValueError or OSError where there is none."""
    revision, preprocessor = engine.revision(), engine.preprocessor()
    return ServedModelFacts(
        key=f"{revision}:{engine.model.resizing}",
        version=f"litelvlm-{revision[:_VERSION_CHARS]}",
        num_visual_tokens=preprocessor.config.num_visual_tokens,
        check_phrase=lambda phrase: engine.check_phrase(preprocessor, phrase),
    )


def assemble(
    config: ServeConfig, backend: Backend, meters: ServiceMeters
) -> tuple[AnnotationService, LabelStudioBackend]:
    """The service over replicas, and what speaks Label Studio's protocol for it.

    Raises:
        ValueError, OSError: a setting, a run or the checkpoint does not fit, naming it.
    """
    engine = LiteLVLMEngine(model=config.model)
    facts = model_facts(engine)
    known = None
    runs = [Storage(path, config.storage_options) for path in config.run]
    if runs:
        known = KnownAnswers(runs, config.model, revision=engine.revision(), num_visual_tokens=facts.num_visual_tokens)
    reader = ImageReader(config, engine.preprocessor())
    service = AnnotationService(config, reader, backend, facts, known, meters)
    corrections = None
    if config.reviewed is not None:
        corrections = Corrections(runs[0], Storage(config.reviewed, config.storage_options))
    return service, LabelStudioBackend(service, corrections, config.label_studio_url)
