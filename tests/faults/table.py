"""What the fault suite injected and what came of it, as a table for people."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

HEAD = "| fault | runs | faults injected | records in | out | lost | doubled | resumed in s (median, max) |"
_DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
_SECTION = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class FaultRow:
    """One disturbed run, compared with an undisturbed one.

    `lost` and `doubled` are counted on (source row, phrase index); `resumed_s` is what it took from the fault, or from
    starting again, to the finished run, in seconds.
    """

    fault: str
    injected: int
    records_in: int
    records_out: int
    lost: int
    doubled: int
    resumed_s: float


class FaultTable:
    """Rows of one session."""

    def __init__(self) -> None:
        self.rows: list[FaultRow] = []

    def add(
        self,
        *,
        fault: str,
        injected: int,
        records_in: int,
        records_out: int,
        lost: int,
        doubled: int,
        resumed_s: float,
    ) -> None:
        """Note a run."""
        self.rows.append(
            FaultRow(
                fault=fault,
                injected=injected,
                records_in=records_in,
                records_out=records_out,
                lost=lost,
                doubled=doubled,
                resumed_s=resumed_s,
            )
        )

    def markdown(self) -> str:
        """A line per kind of fault, runs added up, and a last line with the totals."""
        kinds: dict[str, list[FaultRow]] = defaultdict(list)
        for row in self.rows:
            kinds[row.fault].append(row)
        lines = [HEAD, "|---|" + "---:|" * (HEAD.count("|") - 2)]
        lines += [_line(kind, rows) for kind, rows in kinds.items()]
        return "\n".join([*lines, _line("all", self.rows)])


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Peaks of one run in MiB of private memory: of the driver, and of the largest of its workers."""

    case: str
    driver_mib: float
    worker_mib: float
    seconds: float


class MemoryTable:
    """Rows of one session."""

    def __init__(self) -> None:
        self.rows: list[MemoryRow] = []

    def add(self, *, case: str, driver_mib: float, worker_mib: float, seconds: float) -> None:
        """Note a run."""
        self.rows.append(MemoryRow(case=case, driver_mib=driver_mib, worker_mib=worker_mib, seconds=seconds))

    def markdown(self) -> str:
        """A line per run."""
        lines = ["| case | driver, peak MiB | largest worker, peak MiB | seconds |", "|---|---:|---:|---:|"]
        lines += [f"| {r.case} | {r.driver_mib:.0f} | {r.worker_mib:.0f} | {r.seconds:.0f} |" for r in self.rows]
        return "\n".join(lines)


def write_report(path: Path, faults: FaultTable, memory: MemoryTable) -> None:
    """Write all rows to a JSON file, and both tables into docs/reliability.md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from benchmarks.hardware import describe  # and torch

    hardware = describe()
    rows = [asdict(row) | {"resumed_s": round(row.resumed_s, 2)} for row in faults.rows]
    content = {"hardware": hardware, "faults": rows, "memory": [asdict(row) for row in memory.rows]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    caption = f"{hardware['date']}, {hardware['cores']} cores ({hardware['cpu']}), Python {hardware['python']}:"
    tables = "\n\n".join([caption, *(table.markdown() for table in (faults, memory) if table.rows)]) + "\n"
    _DOCUMENT.write_text(_SECTION.sub(lambda found: found[1] + tables + found[2], _DOCUMENT.read_text()))


def _line(kind: str, rows: list[FaultRow]) -> str:
    seconds = sorted(row.resumed_s for row in rows)
    sums = [sum(getattr(row, name) for row in rows) for name in ("injected", "records_in", "records_out", "lost")]
    doubled = sum(row.doubled for row in rows)
    cells = [kind, len(rows), *sums, doubled, f"{seconds[len(seconds) // 2]:.1f}, {seconds[-1]:.1f}"]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
