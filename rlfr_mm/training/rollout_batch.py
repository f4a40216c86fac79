"""Rollouts: one generation batch in memory while TRL trains on it, and the records that are made of it."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlfr_mm.viewing.rollout_records import RolloutRecord


@dataclass
class FlowRecord:
    """What the flow says about the rollouts of a batch."""

    latents: Tensor  # (B, layer, 1 + T, hidden)
    seeds: list[int]  # of each rollout's times and noise
    deviation: Tensor  # (B, T)
    reward: Tensor  # (B, T)


@dataclass
class RolloutBatch:
    """B rollouts of T tokens on this process, completed while TRL works through its micro-batches.

    Rewards are those of all processes, in the order of process and rollout; all else is local.
    """

    step: int
    inputs: list[dict[str, Any]]  # dataset rows, one per rollout; the rollouts of a group are consecutive
    completion_ids: Tensor  # (B, T)
    mask: Tensor  # (B, T), True at response tokens
    outcome: Tensor  # (B,), GRPO's advantage
    rewards: Tensor  # (all rollouts, functions), NaN where a function could not grade
    reward_names: list[str]
    advantages: Tensor  # (B, T), as the loss uses them
    flow: FlowRecord | None = None
    logps: Tensor = field(init=False)  # (B, T), of the policy that sampled
    entropies: Tensor = field(init=False)  # (B, T)
    observed: int = 0
    fresh: list[Tensor] = field(default_factory=list)  # indices that the field has not been offered yet

    def __post_init__(self) -> None:
        self.logps = torch.zeros(self.mask.shape, device=self.mask.device)
        self.entropies = torch.zeros_like(self.logps)

    @property
    def accuracy(self) -> Tensor:
        """(all rollouts,) the first reward, 1 where the answer is correct, NaN where it could not be graded."""
        return self.rewards[:, 0]

    @property
    def complete(self) -> bool:
        """Whether the loss has seen every rollout once."""
        return self.observed == len(self.inputs)

    def take_fresh(self) -> Tensor:
        """Indices of the rollouts that the loss has seen since the last call."""
        index = torch.cat(self.fresh)
        self.fresh.clear()
        return index

    def observe(self, index: Tensor, logps: Tensor, entropies: Tensor, advantages: Tensor) -> None:
        """Keep what the loss of the rollouts `index` (b,) computed: (b, T) each."""
        self.logps[index], self.entropies[index] = logps.float(), entropies.float()
        self.advantages[index] = (advantages if advantages.dim() == 2 else advantages[:, None]) * self.mask[index]
        self.observed += len(index)
        self.fresh.append(index)

    def scores(self) -> dict[str, Tensor]:
        """What might tell correct rollouts from incorrect ones, larger for correct: means over tokens, (B,)."""
        per_token = {"logprob": self.logps}
        if self.flow is not None:
            per_token |= {"flow_reward": self.flow.reward, "deviation": -self.flow.deviation}
        tokens = self.mask.sum(1).clamp(min=1)
        return {name: values.masked_fill(~self.mask, 0).sum(1) / tokens for name, values in per_token.items()}

    def records(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> tuple[list[RolloutRecord], dict[str, Any]]:
        """Records of the first `limit` rollouts of the main process, and their images by file name."""
        records: list[RolloutRecord] = []
        images: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for i, row in enumerate(self.inputs[:limit]):
            ids = self.completion_ids[i][self.mask[i]].tolist()
            problem_id = str(row["problem_id"])
            image = next(iter(row.get("images") or []), None)
            image_name = f"{_file_name(problem_id)}.png" if image is not None else None
            if image_name:
                images[image_name] = image
            seen[problem_id] = seen.get(problem_id, -1) + 1
            accuracy = self.accuracy[i].item()
            records.append(
                RolloutRecord(
                    step=self.step,
                    problem_id=problem_id,
                    sample=seen[problem_id],
                    prompt=_text(row["prompt"]),
                    image=image_name,
                    solution=str(row["solution"]),
                    completion=str(tokenizer.decode(ids, skip_special_tokens=True)),
                    rewards={
                        name: None if value != value else value
                        for name, value in zip(self.reward_names, self.rewards[i].tolist(), strict=True)
                    },
                    correct=None if accuracy != accuracy else accuracy == 1,
                    advantage=round(self.outcome[i].item(), 6),
                    tokens=[str(tokenizer.decode([token])) for token in ids],
                    advantages=self._row(self.advantages, i),
                    logprob=self._row(self.logps, i),
                    entropy=self._row(self.entropies, i),
                    deviation=self._row(self.flow.deviation, i) if self.flow else None,
                    flow_reward=self._row(self.flow.reward, i) if self.flow else None,
                )
            )
        return records, images

    def _row(self, values: Tensor, i: int) -> list[float]:
        return [float(f"{value:.5g}") for value in values[i][self.mask[i]].tolist()]


def _text(messages: Any) -> str:
    """The text of a conversation, without its images."""
    if isinstance(messages, str):
        return messages
    parts = [m["content"] if isinstance(m["content"], list) else [{"text": m["content"]}] for m in messages]
    return "\n".join(part["text"] for content in parts for part in content if part.get("text"))


def _file_name(problem_id: str) -> str:
    """A file name for any id; ids that are no file names get a hash, so that no two share one."""
    if re.fullmatch(r"[\w.-]{1,100}", problem_id):
        return problem_id
    return hashlib.sha256(problem_id.encode()).hexdigest()[:32]
