"""Processes that train one model agree on time and on gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litelvlm.demo.team import Team, run_team

pytestmark = pytest.mark.slow


def _work(directory: Path, team: Team) -> None:
    params = [
        torch.nn.Parameter(torch.zeros(2, 3)),
        torch.nn.Parameter(torch.zeros(4)),
        torch.nn.Parameter(torch.zeros(1)),
    ]
    params[0].grad = torch.full((2, 3), 1.0 + team.rank)
    params[1].grad = torch.arange(4.0) * team.rank
    team.average_gradients(params)  # the last one has none
    found = {"agreed": team.agree(0.25 + team.rank), "first": params[0].grad, "second": params[1].grad}
    torch.save(found | {"leads": team.leads, "none": params[2].grad is None}, directory / f"{team.rank}.pt")


def test_two_members_share_the_leaders_time_and_the_mean_gradient(tmp_path: Path) -> None:
    run_team(2, _work, tmp_path)
    members = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [member["leads"] for member in members] == [True, False]
    for member in members:
        assert member["agreed"] == 0.25
        assert member["first"].tolist() == [[1.5] * 3] * 2
        assert member["second"].tolist() == [0, 0.5, 1, 1.5]
        assert member["none"]


def test_a_team_of_one_talks_to_nobody() -> None:
    param = torch.nn.Parameter(torch.zeros(2))
    param.grad = torch.ones(2)
    Team().average_gradients([param])
    assert param.grad.tolist() == [1, 1]
    assert Team().agree(0.5) == 0.5
