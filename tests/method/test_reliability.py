"""How much of a deviation is noise, measured on a real policy's latents with a field that was trained on them."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OfflineConfig
from rlfr_mm.method.field import FlowField, latent_statistics
from rlfr_mm.method.flow_reward import agreement, reliability
from rlfr_mm.method.latents import Latents, record_latents
from rlfr_mm.method.loss import deviation_by_draw, scored_tokens
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import encode_demonstrations
from rlfr_mm.quickstart import world


@pytest.fixture(scope="module")
def trained(tiny_policy: Path) -> tuple[FlowField, Latents]:
    """A field after 60 steps on the latents of 64 solutions, and the latents of 16 others."""
    policy = AutoModelForImageTextToText.from_pretrained(tiny_policy).eval()
    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    config = FlowConfig(num_blocks=1, batch_multiplier=1, standardise=True)
    field = FlowField.for_policy(config, policy.config)

    def latents(first: int, count: int) -> Latents:
        rows = world.rows(first + count, "train", [2])[first:]
        inputs, mask = encode_demonstrations(rows, processor, 48)
        with torch.no_grad(), record_latents(policy, field.layer_indices, mask) as recorder:
            policy(**inputs, use_cache=False)
        return recorder.passes[0]

    learnt = latents(0, 64)
    field.set_statistics(latent_statistics(learnt))
    updater = FieldUpdater(field, OfflineConfig(learning_rate=2e-3), Accelerator(cpu=True))
    noise = torch.Generator().manual_seed(0)
    losses = [updater.step([(learnt, learnt.mask.float(), sample_seeds(noise, 0, 64))]).loss for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]
    return field, latents(64, 16)


def test_eight_draws_make_a_deviation_that_another_eight_confirm(trained):
    field, latents = trained
    seeds, scored = torch.arange(16), scored_tokens(latents.mask, [1])

    def measured(draws: int) -> tuple[float, float]:
        """Test-retest correlation within sequences, and its estimate from the two halves of the first draws."""
        config = FlowRewardConfig(noise_draws=draws)
        first, second = (deviation_by_draw(field, latents, config, seeds, again=again) for again in (False, True))
        retest = reliability(agreement(first.mean(0), second.mean(0), scored).sum(0), halves=False)
        halves = agreement(first[::2].mean(0), first[1::2].mean(0), scored).sum(0)
        return retest, reliability(halves, halves=True)

    one, (eight, estimated) = measured(1)[0], measured(8)
    assert eight > 0.9
    assert 1 - eight < (1 - one) / 4  # the error falls by about eight
    assert estimated == pytest.approx(eight, abs=0.02)
