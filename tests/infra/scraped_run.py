"""A run with the fake model whose Prometheus endpoint is scraped meanwhile, on a Ray that exports twice a second.

`python -m tests.infra.scraped_run SOURCE OUTPUT` prints, as JSON, of every series of this project's metrics all
values that were seen, in order.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
import urllib.request
from collections import defaultdict

os.environ |= {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_AUTH_MODE": "disabled", "RAY_metrics_report_interval_ms": "500"}

import ray
from prometheus_client.parser import text_string_to_metric_families

from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.markers import done_shards
from litelvlm.pipeline.storage.store import Storage
from tests.conftest import ROOT
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config

_LONGEST_S = 60.0
_OWN_TAGS = ("run", "status", "kind", "stage", "state", "direction")


class Scraper:
    """Scrapes an endpoint again and again in a thread. `seen` holds values by series."""

    def __init__(self, url: str) -> None:
        self.seen: dict[str, list[float]] = defaultdict(list)
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def wait_for(self, series: str, value: float) -> None:
        """Until the series has shown the value."""
        deadline = time.monotonic() + _LONGEST_S
        while value not in self.seen.get(series, ()):
            assert time.monotonic() < deadline, f"{series} never was {value}: {self.seen.get(series)}"
            time.sleep(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _go_on(self) -> None:
        while not self._stop.wait(0.3):
            sums: dict[str, float] = defaultdict(float)
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                for family in text_string_to_metric_families(answer.read().decode()):
                    for sample in family.samples:
                        if sample.name.startswith("ray_litelvlm_"):
                            tags = [f"{tag}={sample.labels[tag]}" for tag in _OWN_TAGS if tag in sample.labels]
                            sums[" ".join([sample.name, *tags])] += sample.value
            for series, value in sums.items():
                self.seen[series].append(value)


def main(source: str, output: str) -> int:
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    node = ray.nodes()[0]
    scraper = Scraper(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")
    config = run_config(source, output, shard_images=4, gpu_price=3.6, max_failure_rate=1.0)
    code = annotate_dataset(config, engine=FakeEngine(seconds_per_image=0.2), stream=io.StringIO())
    tag = json.loads(Storage(output).read_bytes("config.json"))["fingerprint"][:8]
    scraper.wait_for(f"ray_litelvlm_shards_total run={tag}", float(len(done_shards(Storage(output)))))
    for gauge in ("shards_left", "eta_seconds"):  # exported apart from the counters, and sometimes later
        scraper.wait_for(f"ray_litelvlm_{gauge} run={tag}", 0.0)
    scraper.stop()
    print(json.dumps(scraper.seen))
    ray.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
