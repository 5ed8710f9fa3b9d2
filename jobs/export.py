"""Writes a finished run in another format: COCO polygons, YOLO, label maps, Hugging Face data sets, VOC, Datumaro.

python jobs/export.py RUN --to yolo-seg --output labels
python jobs/export.py s3://bucket/run1 --to hf-datasets --images --output s3://bucket/masks
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.export.config import ExportConfig


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed or the storage failed (run again), 2 bad usage."""
    return run_job(lambda secrets: _export(argv, secrets), resumes=True)


def _export(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="export", description=__doc__).add_settings(ExportConfig)
    config = configure(ExportConfig, vars(parser.parse_args(argv)))
    secrets.of(config.storage_options)
    from litelvlm.pipeline.export.run import export

    export(config, lambda line: print(line, flush=True))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
