"""Label Studio: tasks with predictions, and the labelling config that shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import quoteattr

from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.ontology import Category
from litelvlm.pipeline.review.formats.label_studio_checks import check_task
from litelvlm.pipeline.review.formats.label_studio_tasks import (
    ABSENT,
    BITMASK,
    BRUSH,
    IMAGE,
    IMAGES_DIR,
    PHRASE,
    VERDICT,
    task_of,
)

CONFIG_NAME = "label_config.xml"
# An upload to Label Studio may have 250 MB (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_FILE_BYTES = 190_000_000


class LabelStudio(Format):
    """`tasks.json`, or `tasks-<part>.json` for each of several parts, `images/` on request, and `label_config.xml`.

    Parameters:
        bitmask: masks as PNG for `<BitmaskLabels>` instead of run lengths for `<BrushLabels>`.
        is_alone: whether there is one part only.
        model_version: what predictions are filtered by in its data manager.
    """

    def __init__(
        self,
        classes: tuple[Category, ...],
        *,
        tolerance: float = 0.0,
        with_images: bool = False,
        bitmask: bool = False,
        is_alone: bool = True,
        model_version: str = "litelvlm",
    ) -> None:
        super().__init__(classes, tolerance=tolerance, with_images=with_images)
        self.bitmask, self.is_alone, self.model_version = bitmask, is_alone, model_version

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        """Raises ValueError where Label Studio would show something else than what stands there."""
        base = "tasks" if self.is_alone else f"tasks-{part}"
        tasks: list[bytes] = []
        num_bytes = num_files = 0
        for task in self._tasks(images, files):
            if tasks and num_bytes + len(task) > MAX_FILE_BYTES:
                files.write(_file_name(base, num_files), _array(tasks))
                tasks, num_bytes, num_files = [], 0, num_files + 1
            tasks.append(task)
            num_bytes += len(task) + 1
        files.write(_file_name(base, num_files), _array(tasks))
        return Counter()

    def finish(self, parts: list[str], files: Files) -> None:
        files.write(CONFIG_NAME, label_config([one.name for one in self.classes] if self.bitmask else None))

    def _tasks(self, images: Images, files: Files) -> Iterator[bytes]:
        names = [one.name for one in self.classes]
        for image in images:
            task = task_of(image, names, bitmask=self.bitmask, model_version=self.model_version)
            check_task(task)
            if image.data is not None:
                files.write(f"{IMAGES_DIR}/{image.file_name}", image.data)
            yield json.dumps(task, allow_nan=False, separators=(",", ":")).encode("ascii")


def label_config(bitmask_labels: Sequence[str] | None = None) -> bytes:
    """The labelling interface. Labels of brushes and all choices are in each task, those of bitmasks are given.

    The image cannot be turned: masks of turned images are read by nobody.
    """
    return f"""<View>
  <Style>.review-columns {{display: flex; gap: 1em}} .review-image {{flex: 3}} .review-absent {{flex: 1}}</Style>
  <View className="review-columns">
    <View className="review-image">
      {_labels(bitmask_labels)}
      <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true" rotateControl="false"/>
      <View visibleWhen="region-selected">
        <Header value="Phrase of this region" size="5"/>
        <TextArea name="{PHRASE}" toName="{IMAGE}" perRegion="true" editable="true" rows="1" maxSubmissions="1"/>
        <Header value="This region is" size="5"/>
        <Choices name="{VERDICT}" toName="{IMAGE}" perRegion="true" choice="single" showInline="true">
          <Choice value="accepted"/>
          <Choice value="rejected"/>
        </Choices>
      </View>
    </View>
    <View className="review-absent">
      <Header value="Tick what is NOT in the image" size="5"/>
      <Choices name="{ABSENT}" toName="{IMAGE}" choice="multiple" value="$asked"/>
    </View>
  </View>
</View>
""".encode("ascii", "xmlcharrefreplace")


def _labels(bitmask_labels: Sequence[str] | None) -> str:
    if bitmask_labels is None:
        return f'<BrushLabels name="{BRUSH}" toName="{IMAGE}" value="$labels"/>'
    labels = "".join(f"<Label value={quoteattr(one)}/>" for one in bitmask_labels)
    return f'<BitmaskLabels name="{BITMASK}" toName="{IMAGE}">{labels}</BitmaskLabels>'


def _file_name(base: str, number: int) -> str:
    return f"{base}-{number + 1}.json" if number else f"{base}.json"


def _array(tasks: list[bytes]) -> bytes:
    return b"[" + b",\n".join(tasks) + b"]\n"
