"""COCO with run lengths: the run's own form, of chosen images."""

from __future__ import annotations

from collections import Counter

from litelvlm.pipeline.export.coco_entries import annotation_entry, coco_file, image_entry
from litelvlm.pipeline.export.formats import Files, Format, Images
from litelvlm.pipeline.output.coco import cvat_labels


class Coco(Format):
    """`annotations/<part>.json`, `images/` on request, `cvat_labels.json`."""

    def write(self, part: str, images: Images, files: Files) -> Counter[str]:
        entries, annotations = [], []
        for image in images:
            entries.append(image_entry(image))
            annotations += [annotation_entry(self.classes, image, one) for one in image.objects]
            if image.data is not None:
                files.write(f"images/{image.file_name}", image.data)
        files.write(f"annotations/{part}.json", coco_file(self.classes, entries, annotations))
        return Counter()

    def finish(self, parts: list[str], files: Files) -> None:
        files.write("cvat_labels.json", cvat_labels(self.classes))
