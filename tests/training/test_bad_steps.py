"""What is not finite moves nothing, is counted and kept, and ends the run before anything with NaN is saved."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from rlfr_mm.config import FlowConfig, OnlineUpdateConfig
from rlfr_mm.files import read_json_lines
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.update import FieldUpdater
from rlfr_mm.training.bad_steps import BadSteps, Diverged
from rlfr_mm.training.callbacks import MetricsWriter
from rlfr_mm.training.run_folder import RunFolder
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import make_trainer


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _harmed(name: str, trainer: Any, steps: tuple[int, ...]) -> None:
    """Make the trainer meet NaN in some of its steps: in its latents, its loss, its gradients or the field's loss."""

    def now() -> bool:
        return trainer.state.global_step + 1 in steps

    if name == "latents":
        measure = trainer.flow.measure

        def measured(batch: Any, flow: Any, index: torch.Tensor, latents: Latents, *args: Any) -> None:
            values = latents.values.masked_fill(torch.tensor(now()), torch.nan)
            measure(batch, flow, index, Latents(values, latents.mask), *args)

        trainer.flow.measure = measured
    elif name == "loss":
        loss = trainer._compute_loss
        trainer._compute_loss = lambda *args: loss(*args) * (torch.nan if now() else 1)
    elif name == "gradients":
        weight = next(p for p in trainer.model.parameters() if p.requires_grad and p.dim() == 2)
        weight.register_hook(lambda gradient: gradient * (torch.inf if now() else 1))
    else:
        weight = trainer.flow.field.final_layer.linear.weight
        weight.register_hook(lambda gradient: gradient * (torch.nan if now() else 1))


@pytest.mark.parametrize("name", ["latents", "loss", "gradients", "field"])
def test_a_step_with_anything_not_finite_is_skipped_counted_and_kept(name: str, tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=3)
    trainer.add_callback(MetricsWriter(tmp_path))
    _harmed(name, trainer, (2,))
    weights, fields = [], []
    count = trainer._get_grad_norm

    def spy(*args: Any, **kwargs: Any) -> Any:
        weights.append(_weights(trainer.model))
        fields.append(_weights(trainer.flow.field))
        return count(*args, **kwargs)

    trainer._get_grad_norm = spy
    trainer.train()
    assert not _same(weights[0], weights[1]) and _same(weights[1], weights[2])  # before steps 1, 2 and 3
    assert not _same(weights[2], _weights(trainer.model))
    if name in ("latents", "field"):
        assert _same(fields[0], fields[1])  # the second update of the field moved nothing
    rows = read_json_lines(tmp_path / "metrics.jsonl")
    assert [row["bad_steps"] for row in rows] == [0, 1, 0]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert BadSteps(tmp_path).count == 1
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "bad_steps").glob("*.json")]
    assert record["step"] == 2 and record["reason"].endswith("finite") and len(record["rollouts"]) == 8
    assert all(rollout["prompt"] and "completion" in rollout for rollout in record["rollouts"])
    kept = load_file(tmp_path / "bad_steps" / "000002-0.safetensors")
    assert kept["completion_ids"].shape == kept["mask"].shape == kept["logps"].shape
    assert len(list(read_rollouts(tmp_path))) >= 16  # every record on the disk can be read
    trainer.save_policy(tmp_path / "final")
    for saved in ("model.safetensors", "flow/flow.safetensors"):
        assert all(value.isfinite().all() for value in load_file(tmp_path / "final" / saved).values())


def test_a_run_stops_after_as_many_bad_steps_in_a_row_as_allowed(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=8, max_bad_steps=2)
    _harmed("loss", trainer, (1, 3, 4, 5))
    with pytest.raises(
        Diverged, match="2 steps in a row, up to step 4, were skipped: the loss is not finite"
    ) as stopped:
        trainer.train()
    assert "\n" not in str(stopped.value) and BadSteps(tmp_path).count == 3
    RunFolder(tmp_path).cut_after(3)
    assert BadSteps(tmp_path).count == 2


def test_weights_that_are_not_finite_end_the_run_before_it_samples(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path)
    with torch.no_grad():
        next(trainer.model.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(Diverged, match="before step 1 the policy's weights are not finite"):
        trainer.train()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_while_sampling_end_the_run_in_one_line(
    value: float, tiny_policy: Path, tmp_path: Path
):
    trainer = make_trainer(tiny_policy, tmp_path)
    norm = trainer.model.model.language_model.norm
    norm.register_forward_hook(lambda *call: call[-1] + value)  # finite weights that overflow
    with pytest.raises(Diverged, match="at step 1 the policy's logits are NaN or infinite while it generates") as ended:
        trainer.train()
    assert "\n" not in str(ended.value)


def test_a_field_update_that_is_not_finite_moves_neither_weights_nor_moments():
    config = FlowConfig(flow_layers=[0.25, 0.5], num_blocks=1, hidden_size=8, num_policy_layers=4, rms_norm_eps=1e-6)
    updater = FieldUpdater(FlowField(config), OnlineUpdateConfig(), Accelerator(cpu=True))
    latents, mask = torch.randn(2, 2, 4, 8), torch.ones(2, 3, dtype=torch.bool)

    def update(weights: torch.Tensor, seed: int) -> Any:
        return updater.step([(Latents.pack(latents, mask), weights, torch.tensor([seed, seed + 1]))])

    update(mask.float(), 0)
    before, state = _weights(updater.field), str(updater.optimizer.state_dict())
    latents[0, 0, 2, 0] = torch.nan
    assert update(mask.float(), 2).is_bad
    assert _same(before, _weights(updater.field)) and str(updater.optimizer.state_dict()) == state
    assert not update(torch.zeros(2, 3), 4).is_bad  # nothing was accepted


def test_the_field_learns_nothing_where_every_completion_is_masked(tiny_policy: Path, tmp_path: Path):
    """All completions are truncated: their masks are empty, and so is the set whose entropy quantile is taken."""
    update = OnlineUpdateConfig(accept=["entropy"])
    settings = {"mask_truncated_completions": True, "max_completion_length": 2, "max_steps": 2}
    trainer = make_trainer(tiny_policy, tmp_path, update_config=update, **settings)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "flow/accepted_weight" in row]
    assert [row["flow/accepted_weight"] for row in rows] == [0, 0] and [row["bad_steps"] for row in rows] == [0, 0]
