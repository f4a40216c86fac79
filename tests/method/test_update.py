"""The field's optimiser: what decays, and how the learning rate begins."""

import pytest
import torch
from accelerate import Accelerator

from rlfr_mm.config import OfflineConfig, OnlineUpdateConfig
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.update import FieldUpdater

LATENTS = Latents.pack(torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0)), torch.ones(2, 3).bool())


def step(updater: FieldUpdater) -> dict[str, torch.Tensor]:
    """How far each parameter moves in one step."""
    before = {name: parameter.detach().clone() for name, parameter in updater.field.named_parameters()}
    updater.step([(LATENTS, torch.ones(2, 3), torch.tensor([1, 2]))])
    return {name: parameter.detach() - before[name] for name, parameter in updater.field.named_parameters()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_field_on_a_gpu_learns_from_latents_and_weights_that_wait_on_the_cpu(make_field):
    """As the cache of an offline start hands them over."""
    here, there = (FieldUpdater(make_field().to(device), OfflineConfig(), Accelerator()) for device in ("cpu", "cuda"))
    for name, moved in step(here).items():
        torch.testing.assert_close(step(there)[name].cpu(), moved, atol=1e-4, rtol=1e-2)


def test_weight_decay_pulls_matrices_and_neither_norms_nor_biases(make_field):
    moved = []
    for decay in (0.0, 0.5):
        config = OfflineConfig(learning_rate=1e-2, weight_decay=decay)
        moved.append(step(FieldUpdater(make_field(), config, Accelerator(cpu=True))))
    for name, parameter in make_field().named_parameters():
        pulled = -0.5 * 1e-2 * parameter.detach() if parameter.dim() > 1 else torch.zeros_like(parameter)
        torch.testing.assert_close(moved[1][name] - moved[0][name], pulled, atol=1e-6, rtol=1e-4)


def test_learning_rate_rises_over_the_first_updates_also_if_they_are_resumed(make_field):
    config = OnlineUpdateConfig(learning_rate=1e-3, warmup_steps=4, weight_decay=0.0)
    updater, rates = FieldUpdater(make_field(), config, Accelerator(cpu=True)), []
    for _ in range(2):
        moved = step(updater)
        rates.append(updater.optimizer.param_groups[0]["lr"])
    largest = max(change.abs().max().item() for change in moved.values())
    assert largest < 1e-3  # Adam's first steps are as large as the rate
    again = FieldUpdater(make_field(), config, Accelerator(cpu=True))
    again.optimizer.load_state_dict(updater.optimizer.state_dict())
    for _ in range(3):
        step(again)
        rates.append(again.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_the_offline_start_has_its_own_schedule(make_field):
    updater = FieldUpdater(make_field(), OfflineConfig(learning_rate=1e-3), Accelerator(cpu=True))
    updater.optimizer.param_groups[0]["lr"] = 7e-4  # as its schedule sets it
    step(updater)
    assert updater.optimizer.param_groups[0]["lr"] == 7e-4
