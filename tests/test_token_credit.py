"""The true advantages of benchmarks/token_credit.py, on the shipped policy and by hand."""

import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoProcessor

from rlfr_mm.config import ModelArguments
from rlfr_mm.method.scores import expert_values, first_departure
from rlfr_mm.policy import load_policy
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.warmup import QUICKSTART_SETTINGS, prepare_policy
from tests.conftest import ROOT


@pytest.fixture
def token_credit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import token_credit

    return token_credit


def test_values_by_sampling_are_the_chances_to_complete_the_solution(token_credit: ModuleType, tmp_path: Path):
    """Two ways to the same number: shares of sampled continuations, and products of the policy's own probabilities."""
    folder = prepare_policy(tmp_path, **QUICKSTART_SETTINGS)
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    policy, rows = load_policy(ModelArguments(name_or_path=str(folder))).eval(), world.rows(3, "test", [2])
    setting = token_credit.Setting(policy, processor, Dataset.from_list(rows), rows, Accelerator(cpu=True))
    rollouts = token_credit.sample(policy, processor, rows)
    values = token_credit.monte_carlo_values(setting, rollouts, rows)
    ends = rollouts.mask.sum(1)
    assert torch.equal(values.gather(1, ends[:, None])[:, 0], rollouts.correct.float())
    assert torch.equal(values[:, 0], values[::8, 0].repeat_interleave(8))  # a group starts from one prompt
    known = token_credit.scored_rollouts(setting, rollouts, rows)
    departs = first_departure(known.completion_ids, known.mask, known.experts)
    start, exact = expert_values(known.expert_logps, departs)
    difference = values[:, :-1] - torch.cat([start[:, None], exact[:, :-1]], dim=1)
    follows = departs.cumsum(1) - departs == 0  # before the token, the rollout is on the solution
    assert difference[known.mask & follows].abs().mean() < 0.08
    wrong = (rollouts.correct.view(-1, 8).sum(1) == 0).repeat_interleave(8)  # groups without a right rollout
    assert (start[wrong] > 0).all()


def test_a_score_that_is_the_advantage_agrees_with_it_and_a_constant_does_not(token_credit: ModuleType):
    advantage = torch.rand(400, 5, generator=torch.Generator().manual_seed(0)) - 0.6
    everything = torch.ones(400, 5, dtype=torch.bool)
    perfect = token_credit.agreement(advantage, advantage, everything, everything)
    assert perfect["auc"]["value"] == perfect["auc_uncertain"]["value"] == 1
    assert perfect["correlation"]["value"] == pytest.approx(1)
    blind = token_credit.agreement(torch.zeros(400, 5), advantage, everything, everything)
    assert blind["auc"]["value"] == 0.5
    opposite = token_credit.agreement(-advantage, advantage, everything, everything)
    assert opposite["auc"]["value"] == 0 and math.isclose(opposite["correlation"]["value"], -1)
