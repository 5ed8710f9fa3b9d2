"""Makes the pipeline's Parquet from what is there: folders of images, CSV, TSV, JSON lines, COCO, YOLO, WebDataset
tars, Hugging Face data sets on disk, Parquet, Delta, Lance, Iceberg.

python jobs/prepare.py --input photos/ --phrases classes.txt --output table
python jobs/prepare.py --input annotations/instances_val2017.json --image-root val2017 --embed-images --output s3://bucket/table
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.prepare.config import PrepareConfig


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed or the storage failed (run again to resume), 2 bad usage or input."""
    return run_job(lambda secrets: _prepare(argv, secrets), resumes=True)


def _prepare(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="prepare", description=__doc__).add_settings(PrepareConfig)
    config = configure(PrepareConfig, vars(parser.parse_args(argv)))
    secrets.of(config.storage_options)
    from litelvlm.pipeline.prepare.run import prepare

    prepare(config, lambda line: print(line, flush=True))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
