"""Results as markdown: a section for each step, a table for each of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def as_markdown(content: dict[str, Any]) -> str:
    """The page.

    Args:
        content: what `results.json` holds.
    """
    hardware = content["hardware"]
    device = hardware["device"] if hardware["device"] != "none" else f"{hardware['cores']} cores, {hardware['cpu']}"
    lines = [f"# {device}, {hardware['date']}", ""]
    model = f"{content['model']} `{content['size']}`"
    lines += [f"{model} with random weights, {content['dtype']}, torch {hardware['torch']}.", ""]
    lines += ["| step | status | seconds |", "|---|---|---|"]
    lines += [f"| {one['title']} | {one['status']} | {one['seconds']} |" for one in content["steps"].values()]
    for one in content["steps"].values():
        lines += ["", f"## {one['title']}", "", *_step(one)]
    return "\n".join(lines) + "\n"


def _step(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['status'].capitalize()}."] if found["status"] != "done" else []
    if found["reason"]:
        lines += ["", "```", *found["reason"].splitlines(), "```"]
    lines += [f"* {name}: {_cell(value)}" for name, value in found["facts"].items()]
    lines += [f"* {note}" for note in found["notes"]]
    for title, rows in found["tables"].items():
        lines += ["", f"### {title}", "", *table(rows)]
    return lines


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A markdown table with every column that a row has; cells of a dictionary are columns of their own."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in flat]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= {f"{name} {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
