"""The true advantages of benchmarks/token_credit.py, on the shipped policy and by hand."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

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


def made_of_prefixes(token_credit: ModuleType) -> Any:
    """16 rollouts of two prompts, whose latents are a function of the tokens so far and far apart."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 7, (16, 6), generator=generator)
    correct = torch.arange(16) % 3 == 0
    mask = torch.arange(6) < torch.tensor([6, 5])[torch.arange(16) % 2][:, None]
    latents = torch.zeros(16, 4, 7, 256)
    for i, row in enumerate(ids.tolist()):
        for j in range(7):
            own = torch.Generator().manual_seed(sum((token - 4) * 3**k for k, token in enumerate(row[:j])))
            latents[i, :, j] = torch.randn(4, 256, generator=own)
    return token_credit.Sampled(latents, ids, torch.zeros(16, 6), mask, correct)


def test_near_latents_are_those_of_equal_prefixes_if_all_others_are_far(token_credit: ModuleType):
    made = made_of_prefixes(token_credit)
    expected = token_credit.changes_seen_by_group(made.ids, made.mask, made.correct.float(), made.mask, 8)
    torch.testing.assert_close(token_credit.near_values(made, [1, 2, 3]), expected, rtol=0, atol=5e-3)
    assert expected.abs().max() > 0.1


def test_transport_is_large_where_rollouts_of_the_two_outcomes_differ(token_credit: ModuleType):
    made = made_of_prefixes(token_credit)
    made.latents[:, :, :4] = made.latents[:1, :, :4]  # all rollouts begin in the same way
    found = token_credit.transport(made, [1, 2, 3])
    assert not found[:, 0].any()  # the span of the first token ends before they part
    assert not found[~made.mask].any()
    assert (found[:, 4] > found[:, 1]).all() and (found[:, 1] > 0).all()


def test_transport_is_to_the_rollouts_of_the_same_group_alone(token_credit: ModuleType):
    made = made_of_prefixes(token_credit)
    pairs = token_credit.transport(made, [1, 2, 3], group=2)
    mixed = made.correct.unflatten(0, (-1, 2)).sum(1) == 1
    assert 0 < mixed.sum() < len(mixed)
    assert ((pairs[:, 4] > 0) == mixed.repeat_interleave(2)).all()


def test_weights_of_a_score_by_hand(token_credit: ModuleType):
    """A right and a wrong rollout of four tokens, whose second is uncertain; the wrong one falls there."""
    mask, uncertain = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    uncertain[:, 1:3] = True
    falls = torch.zeros_like(uncertain)
    falls[1, 1] = True
    nothing = torch.zeros(2, 4)
    rollouts = token_credit.Sampled(nothing, nothing.long(), nothing, mask, torch.tensor([True, False]))
    score = torch.tensor([[0.0, -3.0, 0.0, 0.0], [0.0, -3.0, 0.0, 0.0]])
    found = token_credit.weights(score, rollouts, falls, uncertain)
    apart = 0.3 * 4 / math.sqrt(3)  # z-scores of three zeros and a three are 4 / sqrt(3) apart
    blame, praise = (4 * math.exp(sign * apart) / (3 + math.exp(sign * apart)) for sign in (1, -1))
    others = {"blame_at_falls": blame, "blame_at_others": (4 - blame) / 3, "praise": (praise + (4 - praise) / 3) / 2}
    assert found == pytest.approx(others, abs=1e-3)


def test_what_the_probability_says_is_worth_nothing_at_equal_probability(token_credit: ModuleType):
    generator = torch.Generator().manual_seed(0)
    p, noise = (torch.rand(400, 5, generator=generator) for _ in range(2))
    fall = torch.rand(400, 5, generator=generator) > p  # rarely where the policy is sure
    plain = token_credit.agreement(p, -fall.float(), torch.ones_like(fall), torch.ones_like(fall))
    assert plain["auc"]["value"] > 0.75
    assert token_credit.matched_auc(p, p, fall, ~fall)["value"] == pytest.approx(0.5, abs=0.05)
    found = token_credit.matched_auc(noise - 0.5 * fall.float(), p, fall, ~fall)
    assert 0.8 < found["low"] < found["value"] < found["high"] < 0.95
    apart = torch.where(fall, 0.1, 0.9)
    assert math.isnan(token_credit.matched_auc(noise, apart, fall, ~fall)["value"])  # nothing of equal probability
    assert token_credit.matched_auc(noise, p, fall, ~fall)["value"] == pytest.approx(0.5, abs=0.05)


def test_intervals_at_equal_probability_know_that_the_other_tokens_are_of_few_prompts(token_credit: ModuleType):
    """All tokens to compare with stand in two prompts of fifty: those of one always win, those of the other never."""
    score, p = torch.zeros(400, 2), torch.full((400, 2), 0.5)
    fall, other = torch.zeros(400, 2, dtype=torch.bool), torch.zeros(400, 2, dtype=torch.bool)
    fall[16:, 0] = other[:16, 1] = True
    score[:8], score[8:16] = 1, -1
    found = token_credit.matched_auc(score, p, fall, other)
    assert found["value"] == 0.5 and found["low"] < 0.1 and found["high"] > 0.9
