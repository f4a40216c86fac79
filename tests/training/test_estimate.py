"""The estimates of --check against what was measured, and against the policies themselves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from benchmarks.gpu_check import policy_of
from rlfr_mm.config import EvaluationConfig, FlowConfig, ModelArguments, RunConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.policy import load_policy, policy_without_weights
from rlfr_mm.precheck import Launch
from rlfr_mm.training.estimate import (
    GIB,
    Plan,
    PolicySize,
    check_disk,
    disk,
    field_compute_share,
    memory,
    optimizer_bytes,
    peak,
    plan_of,
)  # fmt: skip
from rlfr_mm.training.inputs import settings_of
from tests.conftest import ROOT
from tests.tiny_trainer import CPU, make_trainer


def measured(shaping: str) -> float:
    """The peak of a training step in GiB, as benchmarks/gpu_check.py measured it at the 3B shape."""
    record = json.loads((ROOT / "benchmarks/results/gpu_check.json").read_text())
    return record["step"][shaping]["peak_gib"]


def plan_of_the_record(tiny_policy: Path, tmp_path: Path, shaping: str, **settings: object) -> Plan:
    """The plan of the runs that benchmarks/gpu_check.py measures, whose prompts have 38 tokens."""
    processor = AutoProcessor.from_pretrained(tiny_policy)
    policy = policy_of("3b", processor, torch.device("meta"))
    policy.get_encoder(modality="image").requires_grad_(False)
    train = {
        "output_dir": str(tmp_path), "advantage_shaping": shaping, "per_device_train_batch_size": 8,
        "num_generations": 8, "max_completion_length": 512, "max_steps": 8, "bf16": True, "use_cpu": True,
    } | settings  # fmt: skip
    field = None
    if shaping == "flow":
        with torch.device("meta"):
            field = FlowField.for_policy(FlowConfig(), policy.config)
    return plan_of(RunConfig(), settings_of(train, processes=1), Launch(), policy, field, prompt_tokens=38)


@pytest.mark.parametrize("shaping", ["none", "flow"])
def test_the_peak_of_a_step_is_within_three_percent_of_the_measured_one(
    shaping: str, tiny_policy: Path, tmp_path: Path
):
    estimate = peak(memory(plan_of_the_record(tiny_policy, tmp_path, shaping))) / GIB
    assert estimate == pytest.approx(measured(shaping), rel=0.03)


def test_a_policy_without_weights_has_the_sizes_of_the_real_one(tiny_policy: Path, tmp_path: Path):
    real, bare = (make(ModelArguments(str(tiny_policy))) for make in (load_policy, policy_without_weights))
    assert PolicySize.of(real) == PolicySize.of(bare)
    assert {weight.device.type for weight in bare.parameters()} == {"meta"}
    stored = sum(path.stat().st_size for path in tiny_policy.glob("model.safetensors"))
    assert PolicySize.of(real).weight_bytes == pytest.approx(stored, rel=0.02)  # the file has a header


def test_states_of_optimiser_and_field_are_those_of_a_real_run(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=1, update_config=None)
    trainer.train()
    states = sum(
        value.nbytes for state in trainer.optimizer.state.values() for value in state.values() if value.dim() > 0
    )
    flow = trainer.flow.field
    plan = plan_of(RunConfig(), trainer.args, Launch(), trainer.model, flow, prompt_tokens=38)
    parts = {part.name: part.bytes for part in memory(plan)}
    assert optimizer_bytes(plan.policy, plan.args) == parts["policy: optimiser states"] == states
    assert parts["policy: gradients"] == sum(4 * weight.numel() for weight in trainer.model.parameters())
    weights = sum(weight.nbytes for weight in flow.parameters())
    assert parts["field: weights, gradients, optimiser"] == 4 * weights
    with torch.device("meta"):
        assert sum(weight.numel() for weight in FlowField(flow.config).parameters()) * 4 == weights


def test_a_field_that_does_not_learn_keeps_rounded_weights_beside_its_own(tiny_policy: Path, tmp_path: Path):
    def rounded(matmuls: str, learns: bool, bf16: bool = True) -> float:
        plan = plan_of_the_record(tiny_policy, tmp_path, "flow", bf16=bf16)
        plan = replace(plan, flow=replace(plan.flow, matmuls=matmuls), update=replace(plan.update, enabled=learns))
        return {part.name: part.bytes for part in memory(plan)}.get("field: weights rounded to bfloat16", 0)

    field = FlowField(FlowConfig(hidden_size=2048, num_policy_layers=36, rms_norm_eps=1e-6, matmuls="bfloat16"))
    field.for_scoring()
    kept = sum(weight.nbytes for weight in field._rounded.values())
    assert rounded("auto", learns=False) == pytest.approx(kept, rel=0.15)  # the embeddings are not rounded
    assert rounded("bfloat16", learns=False, bf16=False) > 0
    assert rounded("float32", learns=False) == rounded("auto", learns=False, bf16=False) == 0
    assert rounded("auto", learns=True) == 0


def test_sharding_divides_what_it_shards(tiny_policy: Path, tmp_path: Path):
    plan = plan_of_the_record(tiny_policy, tmp_path, "flow")
    names = ("policy: optimiser states", "policy: gradients", "policy: weights")
    whole = {part.name: part.bytes for part in memory(plan)}
    for number, sharding in enumerate(("none", "optimizer", "gradients", "weights")):
        shared = {part.name: part.bytes for part in memory(replace(plan, launch=Launch(4, sharding)))}
        assert [shared[name] * 4 == whole[name] for name in names] == [number > i for i in range(3)]
        assert shared["field: weights, gradients, optimiser"] == whole["field: weights, gradients, optimiser"]
        assert ("policy: gradient buckets of DDP" in shared) == (sharding == "none")


def test_every_process_has_room_for_the_whole_policy_before_it_is_sharded(tiny_policy: Path, tmp_path: Path):
    plan = plan_of_the_record(tiny_policy, tmp_path, "flow")
    whole, field = plan.policy.weight_bytes, plan.field_parameters
    many = replace(plan, launch=Launch(64, "weights"))
    assert peak(memory(plan), "start") == whole + 4 * field < peak(memory(plan))
    assert peak(memory(many), "start") == whole + whole / 64 + 4 * field == peak(memory(many))
    assert peak(memory(replace(many, offline=True)), "start") == whole + whole / 64 + 20 * field

    # Answers take keys and values, and after training a second policy, where the processes share anything of the first.
    evaluation = EvaluationConfig(batch_size=2)
    answering, bare = (memory(replace(many, evaluation=one)) for one in (evaluation, None))
    held_out = 2 * (38 + 512) * plan.policy.layers * 2 * plan.policy.kv_channels * 4
    assert peak(answering, "start") - peak(bare, "start") == held_out
    assert peak(answering, "end") - peak(bare, "end") == whole + held_out
    for sharding, second in (("none", 0), ("optimizer", whole), ("gradients", whole)):
        found = replace(plan, launch=Launch(4, sharding))
        alone = peak(memory(found), "end")
        assert peak(memory(replace(found, evaluation=evaluation)), "end") == alone + second + held_out


def test_settings_that_take_memory_are_counted(tiny_policy: Path, tmp_path: Path):
    def total(**settings: object) -> float:
        return peak(memory(plan_of_the_record(tiny_policy, tmp_path, "flow", **settings)))

    plain = total()
    assert total(gradient_accumulation_steps=2) > plain  # gradients stay while the next micro-batch is computed
    assert total(gradient_checkpointing=False) > plain
    assert total(beta=0.1) - plain == pytest.approx(
        plan_of_the_record(tiny_policy, tmp_path, "flow").policy.weight_bytes
    )
    assert total(optim="adamw_bnb_8bit") < plain
    assert total(max_completion_length=4096) > plain > total(max_completion_length=64)


def test_the_fields_share_of_the_compute_grows_with_its_work(tiny_policy: Path, tmp_path: Path):
    plan = plan_of_the_record(tiny_policy, tmp_path, "flow")
    share = field_compute_share(plan, 38)
    assert 0 < share < 1
    assert field_compute_share(replace(plan, update=replace(plan.update, enabled=False)), 38) < share
    assert field_compute_share(replace(plan, update=replace(plan.update, passes=2)), 38) > share
    assert field_compute_share(replace(plan, update=replace(plan.update, batch_multiplier=1)), 38) < share
    assert field_compute_share(replace(plan, update=replace(plan.update, token_share=0.5)), 38) < share
    assert field_compute_share(replace(plan, flow=None), 38) == 0
    # By hand, per completion token: at three layers one pass to score and four draws to learn; the policy samples, and
    # then runs forward, again for the checkpoints, and backward.
    field, policy = plan.field_parameters * 3 * (2 + 6 * 4), 36 * 77_076_992 + 151_936 * 2048
    assert field_compute_share(plan, 0) == pytest.approx(field / (field + policy * (2 + 2 + 2 + 4)))


def test_a_run_that_cannot_save_is_refused(tmp_path: Path, tiny_policy: Path):
    with torch.device("meta"):
        sizes = {"hidden_size": 16384, "intermediate_size": 65536, "num_hidden_layers": 500, "num_attention_heads": 128}
        policy = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **sizes))
    args = settings_of(CPU | {"output_dir": str(tmp_path / "a" / "b"), "save_strategy": "steps", "save_total_limit": 2})
    plan = plan_of(RunConfig(), args, Launch(), policy, None, prompt_tokens=38)
    found = disk(plan, problems=100)
    assert found.final == plan.policy.weight_bytes and found.checkpoint == 3 * found.final and found.checkpoints == 1
    with pytest.raises(ValueError, match=r"train\.output_dir=X has .* GiB free, but a checkpoint and final/ take"):
        check_disk(found, "X")
    check_disk(replace(found, free=found.checkpoint + found.final), "X")
    args.max_steps = 5000
    assert disk(plan, problems=100).checkpoints == 2
