"""CVAT: a task a part, since a task takes annotations of its own images alone and refuses a file with any other."""

from __future__ import annotations

from collections import Counter

from litelvlm.pipeline.export.coco_entries import annotation_entry, coco_file, image_entry
from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.output.coco import cvat_labels


class Cvat(Format):
    """`<part>/annotations.json` in COCO's format, `<part>/images/` on request, and `labels.json` for the project."""

    unique_stems = True  # CVAT keys images by that

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        entries, annotations = [], []
        for image in images:
            entries.append(image_entry(image))
            annotations += [annotation_entry(self.classes, image, one) for one in image.objects]
            if image.data is not None:
                files.write(f"{part}/images/{image.file_name}", image.data)
        files.write(f"{part}/annotations.json", coco_file(self.classes, entries, annotations))
        return Counter()

    def finish(self, parts: list[str], files: Files) -> None:
        files.write("labels.json", cvat_labels(self.classes))
