"""A picture of what the service does under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#0a7d6c", "#d55e00")


def draw(found: dict[str, Any], path: Path) -> None:
    """Latency of first and later phrases, throughput by users, and answers a second while the model is killed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    _bars(axes[0], found["latency"], {"first phrase": ("first_ms", "p50"), "later phrases": ("later_ms", "p50")})
    axes[0].set(title="One user, by size of image", ylabel="ms, median")
    by_users = {
        users: {name: one[users] for name, one in found["throughput"].items()}
        for users in found["throughput"]["new images"]
    }
    _bars(
        axes[1],
        {f"{users} user{'s' if users != '1' else ''}": told for users, told in by_users.items()},
        {"known images": ("known images", "phrases_per_s"), "new images": ("new images", "phrases_per_s")},
    )
    axes[1].set(title="Throughput", ylabel="phrases a second")
    killed = found["model_killed"]
    axes[2].step(np.arange(len(killed["per_second"])), killed["per_second"], where="post", color=COLOURS[0], lw=1)
    for at in killed["killed_at_s"]:
        axes[2].axvline(at, color=COLOURS[1], lw=0.8, ls=":")
    axes[2].set(
        title="8 users, model killed at the dotted lines", xlabel="s", ylabel="answers a second", ylim=(0, None)
    )
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, rows: dict[str, Any], bars: dict[str, tuple[str, str]]) -> None:
    places = np.arange(len(rows))
    for number, (label, (outer, inner)) in enumerate(bars.items()):
        values = [row[outer][inner] for row in rows.values()]
        drawn = axis.bar(places + 0.4 * number - 0.2, values, 0.38, label=label, color=COLOURS[number])
        axis.bar_label(drawn, fmt="%.0f", fontsize=8)
    axis.set_xticks(places, list(rows))
    axis.legend(frameon=False, fontsize=8)
