"""The engine behind HTTP: `python jobs/serve.py --model demo --port 8123`. A signal drains and ends it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.serving.config import ServeConfig


def main(argv: list[str] | None = None) -> int:
    """Serve. Returns 1 crashed, 2 bad usage, 130 or 143 once a signal has ended it."""
    return run_job(lambda secrets: _serve(argv, secrets))


def _serve(argv: list[str] | None, secrets: Secrets) -> int:
    config = configure(ServeConfig, vars(build_parser().parse_args(argv)))
    secrets.of(config.storage_options)
    try:
        from litelvlm.pipeline.serving.run import serve_forever
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'litelvlm-annotate[serve]'") from error
    serve_forever(config, lambda line: print(line, flush=True))
    return EXIT_DONE


def build_parser() -> JobParser:
    """The settings of a service."""
    return JobParser(prog="serve", description=__doc__).add_settings(ServeConfig)


if __name__ == "__main__":
    sys.exit(main())
