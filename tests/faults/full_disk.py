"""A disk that is full while shards are committed: `python -m tests.faults.full_disk SOURCE OUTPUT`.

The disk is a small tmpfs in a mount namespace of its own, which takes no privileges. It is filled once the first shards
are there; the driver must stop with a clear line, and go on once there is room.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.drive import DrivePlan
from tests.faults.harness import SHARD_IMAGES, finish, start_driver, wait_for_markers

_SIZE = "4m"
_INSIDE = "LITELVLM_TEST_MOUNT"


def main(source: str, output: str) -> int:
    """Enter the namespace, or do the work inside it."""
    if _INSIDE not in os.environ:
        disk = tempfile.mkdtemp(prefix="small-disk-")
        script = f'mount -t tmpfs -o size={_SIZE} tmpfs "$0" && exec "$@"'
        inside = [sys.executable, "-m", "tests.faults.full_disk", source, output]
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, disk, *inside]
        return subprocess.run(command, env=os.environ | {_INSIDE: disk}, check=False).returncode
    disk = Path(os.environ[_INSIDE])  # type: ignore[assignment]
    _fill_while_running(source, disk)
    finish(source, disk / "out", num_cpus=4)
    shutil.copytree(disk / "out", output)
    return 0


def _fill_while_running(source: str, disk: Path) -> None:
    process = start_driver(DrivePlan(source, str(disk / "out"), 0.1))
    wait_for_markers(process, disk / "out", 2)
    ballast = disk / "ballast"
    _fill(ballast)
    _, errors = process.communicate(timeout=200)
    message = errors.decode()
    done = list((disk / "out").glob("_done/*.json"))
    print(message, f"{len(done)} shards were committed", file=sys.stderr)
    assert process.returncode == 1, "the driver did not stop"
    assert "No space left on device" in message
    assert "Traceback" not in message
    assert 2 <= len(done) < 60 // SHARD_IMAGES
    ballast.unlink()


def _fill(path: Path) -> None:
    """Write zeros until the disk is full, and keep it full for a moment."""
    with path.open("wb", buffering=0) as file:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                file.write(bytes(512))
            except OSError:
                time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
