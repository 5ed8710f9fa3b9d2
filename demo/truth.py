"""The held-out scenes with their true masks, for `jobs/evaluate.py`.

python -m demo.truth --scenes 500 --output demo/output/held_out.parquet
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.evaluation.datasets.truth import Expression, TrueImage, write_truth
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.storage.store import Storage


def true_scenes(first_seed: int, count: int) -> Iterator[TrueImage]:
    """Drawn scenes; the kind of an expression is what it tells its object by."""
    for seed in range(first_seed, first_seed + count):
        scene = draw_scene(seed)
        buffer = io.BytesIO()
        Image.fromarray(scene.image).save(buffer, "PNG")
        expressions = tuple(
            Expression(text=phrase, mask=encode_mask(mask), sentence_id=f"{seed}/{index}", kind=expression.kind)
            for index, (phrase, mask, expression) in enumerate(
                zip(scene.phrases, scene.masks, scene.expressions, strict=True)
            )
        )
        name = f"scene-{seed - HELD_OUT_SEED:05}"
        yield TrueImage(image_id=name, path=f"{name}.png", data=buffer.getvalue(), expressions=expressions)


def main(arguments: list[str] | None = None) -> int:
    """Writes the table; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="number of held-out scenes")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--output", type=Path, default=Path("demo/output/held_out.parquet"))
    options = parser.parse_args(arguments)
    if options.scenes < 1 or options.first < 0:
        parser.error("--scenes must be at least 1, --first at least 0")
    images = true_scenes(HELD_OUT_SEED + options.first, options.scenes)
    totals = write_truth(images, Storage(str(options.output.parent)), options.output.name)
    print(f"{options.output}: {totals.describe()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
