"""The life of a batch of rollouts, on hand-made tensors."""

import math

import pytest
import torch

from rlfr_mm.method.latents import Latents
from rlfr_mm.training.rollout_batch import FlowRecord, RolloutBatch, Stage, _file_name


def generated() -> RolloutBatch:
    """Two rollouts of three tokens, the second with padding, as TRL's generation returns them."""
    batch = RolloutBatch(step=1, inputs=[{}, {}], reward_names=["accuracy"], records_latents=False)
    assert batch.stage is Stage.GENERATING
    batch.rewards = torch.tensor([[1.0], [0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    ids = torch.tensor([[4, 5, 6], [7, 8, 0]])
    outcome = torch.tensor([1.0, -1.0])
    batch.start_training({"completion_ids": ids, "completion_mask": mask, "advantages": outcome}, outcome)
    return batch


def test_a_batch_is_complete_when_the_loss_has_seen_every_rollout():
    batch = generated()
    assert batch.stage is Stage.TRAINING and batch.advantages.tolist() == [[1, 1, 1], [-1, -1, 0]]
    for index in ([1], [0]):
        assert not batch.complete
        values = torch.full((1, 3), float(index[0]))
        batch.observe(torch.tensor(index), values, values, torch.tensor([0.5]))
        assert batch.take_fresh().tolist() == index  # each rollout is offered to the field once
    assert batch.complete and batch.advantages.tolist() == [[0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    assert batch.logps.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_finished_batch_holds_no_latents():
    batch = generated()
    values = torch.zeros(2, 3)
    seeds, by_draw = torch.tensor([1, 2]), values[None]
    batch.flow = FlowRecord(
        seeds, seeds, batch.mask, by_draw, values, units=1, agreement=torch.zeros(2, 3), learnt=seeds == 0
    )
    batch.flow.kept = [(torch.tensor([0]), Latents.pack(torch.zeros(1, 1, 4, 8), batch.mask[:1]))]
    batch.finish()
    assert batch.stage is Stage.FINISHED and batch.flow is None and not batch.latents


def test_scores_are_means_over_the_tokens_that_have_them():
    batch = generated()
    batch.mask[1] = False  # a truncated rollout, which TRL masks if asked to
    batch.logps = torch.tensor([[-1.0, -2.0, -3.0], [-9.0, -9.0, -9.0]])
    deviation = torch.tensor([[4.0, 4.0, 0.0], [0.0, 0.0, 0.0]])  # the last token has no context
    seeds, scored = torch.tensor([1, 2]), deviation > 0
    batch.flow = FlowRecord(
        seeds, seeds, scored, deviation[None], deviation, units=1, agreement=torch.zeros(2, 3), learnt=seeds == 0
    )
    scores = {name: values.tolist() for name, values in batch.scores().items()}
    assert scores["logprob"][0] == -2 and scores["deviation"][0] == -4
    assert all(math.isnan(values[1]) for values in scores.values())


def test_latents_of_the_scoring_pass_are_handed_out_with_their_rollouts_and_then_forgotten():
    batch = generated()
    batch.latents = [Latents.pack(torch.full((1, 1, 4, 8), float(i)), batch.mask[i : i + 1]) for i in range(2)]
    taken = [(index.tolist(), latents.values[0, 0, 0].item()) for index, latents in batch.take_latents()]
    assert taken == [([0], 0.0), ([1], 1.0)] and not batch.latents


def test_shaping_in_the_loss_leaves_the_inputs_of_trl_alone():
    batch, inputs = generated(), {"advantages": torch.tensor([1.0])}
    with pytest.raises(RuntimeError, match="from the loss"), batch.micro_batch(inputs) as own:
        assert batch.loss_inputs is own
        own["advantages"] = torch.tensor([2.0])
        raise RuntimeError("from the loss")
    assert batch.loss_inputs is None and inputs["advantages"].item() == 1


def test_tool_tokens_are_not_response_tokens():
    batch = RolloutBatch(step=1, inputs=[{}], reward_names=[], records_latents=False)
    mask = {"completion_mask": torch.tensor([[1, 1, 1]]), "tool_mask": torch.tensor([[1, 0, 1]])}
    outcome = torch.tensor([1.0])
    batch.start_training({"completion_ids": torch.tensor([[4, 5, 6]]), "advantages": outcome, **mask}, outcome / 2)
    assert batch.mask.tolist() == [[True, False, True]]
    assert batch.advantages.tolist() == [[0.5, 0.0, 0.5]] and batch.outcome.tolist() == [1.0]


def test_the_name_of_an_image_file_fits_a_file_system_and_is_the_ids_own(tmp_path):
    ids = ["train-7.b", "数" * 100, "数" * 100 + "2", "a/b", "../x", "a" * 101, "..", "x y"]
    names = [f"{_file_name(problem_id)}.png" for problem_id in ids]
    for name in names:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(ids) and names[0] == "train-7.b.png"
