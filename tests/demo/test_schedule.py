"""The learning rate over time, what decays, and the log of the curve."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litelvlm.demo.schedule import LOG_STEPS, LossCurve, cosine_rate, optimizer_for, set_rate
from tests.demo.samples import read_curve


@pytest.mark.parametrize(
    ("step", "progress", "rate"),
    [(0, 0, 0.01), (49, 0, 0.5), (99, 0, 1), (500, 0.5, 0.5), (500, 1 / 3, 0.75), (500, 1, 0.01), (49, 0.5, 0.25)],
)
def test_the_rate_warms_up_and_follows_a_cosine(step: int, progress: float, rate: float) -> None:
    assert cosine_rate(8e-4, step, progress) == pytest.approx(8e-4 * rate)


def test_matrices_decay_and_vectors_do_not() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = optimizer_for(layer.parameters(), 1.0)
    set_rate(optimizer, 0.5)
    weight, bias = (value.detach().clone() for value in (layer.weight, layer.bias))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), weight * (1 - 0.5 * 0.02))
    assert torch.equal(layer.bias, bias)


def test_the_curve_is_means_over_windows_and_losses_may_join_late(tmp_path: Path) -> None:
    curve = LossCurve("test", tmp_path / "curve.csv")
    for step in range(2 * LOG_STEPS + 3):
        late = {"late": torch.tensor(1.0 if step % 2 else 3.0)} if step >= LOG_STEPS - 1 else {}
        curve.add({"loss": torch.tensor(float(step))} | late)
    first, second = read_curve(tmp_path / "curve.csv")
    assert (first["step"], second["step"]) == (LOG_STEPS, 2 * LOG_STEPS)
    assert (first["loss"], second["loss"]) == (24.5, 74.5)
    assert (first["late"], second["late"]) == (1.0, 2.0)


def test_a_curve_without_a_file_counts_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    curve = LossCurve("test", None)
    for _ in range(LOG_STEPS):
        curve.add({"loss": torch.tensor(1.0)})
    assert curve.step == LOG_STEPS
    assert capsys.readouterr().out == ""
