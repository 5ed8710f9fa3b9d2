"""SAM 3 (arXiv 2511.16719, facebook/sam3): segmentation of all instances of a concept, as `transformers` has it.

The published `config.json` is that of the model for videos, `sam3_video`, whose detector is the model for images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from litelvlm.detectors.detector import INSTANCE_THRESHOLD, DetectorPreprocessor, LoadedDetector
from litelvlm.detectors.registry import register


@dataclass(frozen=True)
class Sam3:
    """Checkpoints of `Sam3Model` and `Sam3VideoModel`; of the latter, its tracker is left out."""

    title: str = "SAM 3"
    model_types: tuple[str, ...] = ("sam3", "sam3_video")

    def revision(self, directory: Path) -> str:
        from litelvlm.sam3.checkpoint import revision

        return revision(directory)

    def preprocessor(self, directory: Path, resizing: str) -> DetectorPreprocessor:
        from litelvlm.sam3.preprocess import Sam3Preprocessor

        return Sam3Preprocessor(directory, resizing)

    def check_weights(self, directory: Path) -> None:
        from litelvlm.sam3.loading import check_weights

        check_weights(directory)

    def load(
        self, directory: Path, *, device: str, dtype: str, instance_threshold: float = INSTANCE_THRESHOLD
    ) -> LoadedDetector:
        from litelvlm.sam3.annotator import Sam3Annotator

        return Sam3Annotator.from_directory(
            directory, device=device, dtype=dtype, instance_threshold=instance_threshold
        )


SAM3 = Sam3()
register(SAM3)
