"""One generation batch of rollouts, from sampling to its metrics, and the records that are made of it."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlfr_mm.data.prompts import conversation_text
from rlfr_mm.method.latents import Latents
from rlfr_mm.viewing.rollout_records import RolloutRecord


class Stage(Enum):
    """Where a batch is in its life."""

    GENERATING = "generating"  # TRL samples and grades: rewards and latents arrive
    TRAINING = "training"  # advantages are known; the loss reports log-probabilities and entropies, once per rollout
    FINISHED = "finished"  # metrics and records are written and latents dropped; more iterations may follow


@dataclass
class FlowRecord:
    """What the flow field says about the rollouts of a batch, as far as their latents have been recorded."""

    seeds: Tensor  # (B,) of each rollout's times and noise in updates
    scoring_seeds: Tensor  # (B,) of its noise in scoring, which a group may share
    scored: Tensor  # (B, T), True at tokens that have a deviation
    by_draw: Tensor  # (unit of noise, B, T) velocity deviations
    reward: Tensor  # (B, T)
    units: int  # how many units of noise make the reward; one more may be there, to see what changes
    agreement: Tensor  # (score or reward, 3) sums over the rollouts rewarded so far (flow_reward.agreement)
    learnt: Tensor  # (B,), True for rollouts that the field has had the chance to learn from
    expert_logps: Tensor | None = None  # (B, L) of the expert solutions, for a score that needs them
    kept: list[tuple[Tensor, Latents]] = field(default_factory=list)  # what the field will learn from

    @property
    def deviation(self) -> Tensor:
        """(B, T) averaged over the units of noise that make the reward."""
        return self.by_draw[: self.units].mean(0)


@dataclass
class RolloutBatch:
    """B rollouts of T tokens on this process. Rewards are those of all processes, in their order."""

    step: int
    inputs: list[dict[str, Any]]  # dataset rows, one per rollout; the rollouts of a group are consecutive
    reward_names: list[str]
    records_latents: bool  # the next pass of the policy provides latents
    stage: Stage = field(init=False, default=Stage.GENERATING)
    # Set while generating
    rewards: Tensor = field(init=False)  # (all rollouts, functions), NaN where a function could not grade
    latents: list[Latents] = field(init=False, default_factory=list)  # recorded and not measured yet
    # Set by `start_training`
    completion_ids: Tensor = field(init=False)  # (B, T)
    mask: Tensor = field(init=False)  # (B, T), True at response tokens
    outcome: Tensor = field(init=False)  # (B,), GRPO's advantages
    weighted: Tensor = field(init=False)  # (B,), the same with the weight of blame: what shaping starts from
    advantages: Tensor = field(init=False)  # (B, T), as the loss uses them
    flow: FlowRecord | None = field(init=False, default=None)
    not_finite: str | None = field(init=False, default=None)  # what makes every step on these rollouts a bad one
    # Set while training, by `observe`
    logps: Tensor = field(init=False)  # (B, T), of the policy that sampled
    entropies: Tensor = field(init=False)  # (B, T)
    loss_inputs: dict[str, Any] | None = field(init=False, default=None)  # TRL's, of the micro-batch in its loss
    observed: int = field(init=False, default=0)
    fresh: list[Tensor] = field(init=False, default_factory=list)  # indices that the field has not learnt from yet

    def start_training(self, output: dict[str, Any], weighted: Tensor) -> None:
        """Take over the tokens and advantages of TRL's generation; (B,) `weighted` is what shaping starts from."""
        mask = output["completion_mask"]
        if "tool_mask" in output:
            mask = mask * output["tool_mask"]
        self.completion_ids, self.mask, self.outcome = output["completion_ids"], mask.bool(), output["advantages"]
        self.weighted = weighted
        self.advantages = weighted.unsqueeze(1) * mask
        self.logps = torch.zeros(mask.shape, device=mask.device)
        self.entropies = torch.zeros_like(self.logps)
        self.stage = Stage.TRAINING

    def take_latents(self) -> Iterator[tuple[Tensor, Latents]]:
        """The latents of TRL's scoring pass, part by part, with the indices of their rollouts."""
        first = 0
        while self.latents:
            latents = self.latents.pop(0)
            yield torch.arange(first, first := first + len(latents.mask), device=self.mask.device), latents

    @contextmanager
    def micro_batch(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A copy of a micro-batch's inputs while its loss is computed, in which shaping may replace the advantages."""
        self.loss_inputs = dict(inputs)
        try:
            yield self.loss_inputs
        finally:
            self.loss_inputs = None

    def observe(self, index: Tensor, logps: Tensor, entropies: Tensor, advantages: Tensor) -> None:
        """Keep what the loss computed for the rollouts `index` (b,): each (b, T), or (b,) advantages."""
        self.logps[index], self.entropies[index] = logps.float(), entropies.float()
        self.advantages[index] = (advantages if advantages.dim() == 2 else advantages[:, None]) * self.mask[index]
        self.observed += len(index)
        self.fresh.append(index)

    def take_fresh(self) -> Tensor:
        """Indices of the rollouts that the loss has seen since the last call."""
        index = torch.cat(self.fresh)
        self.fresh.clear()
        return index

    def finish(self) -> None:
        """Drop what takes memory; the loss may still see the rollouts in further iterations."""
        self.stage, self.flow = Stage.FINISHED, None

    @property
    def accuracy(self) -> Tensor:
        """(all rollouts,) the reward named accuracy, or else the first: 1 if correct, NaN if it could not be graded."""
        return self.rewards[:, self._accuracy_column]

    @property
    def _accuracy_column(self) -> int:
        return self.reward_names.index("accuracy") if "accuracy" in self.reward_names else 0

    @property
    def complete(self) -> bool:
        """Whether the loss has seen every rollout once."""
        return self.observed == len(self.inputs)

    def scores(self) -> dict[str, Tensor]:
        """Scores (B,) that may tell correct rollouts from wrong ones, larger for correct.

        They are means over the tokens that have the score: NaN for a rollout without any.
        """
        per_token = {"logprob": (self.logps, self.mask)}
        if (flow := self.flow) is not None:
            per_token |= {"flow_reward": (flow.reward, self.mask), "deviation": (-flow.deviation, flow.scored)}
        return {name: values.masked_fill(~has, 0).sum(1) / has.sum(1) for name, (values, has) in per_token.items()}

    def credit(self) -> Tensor:
        """(2, 2) this process's sums of advantages over tokens, weighted by entropy: where the policy chooses.

        The rows are rollouts that GRPO praises and those that it blames; the columns are the advantages that the loss
        uses, and GRPO's. Both are positive if they agree with GRPO, so that their ratio is 1 without shaping.
        """
        weight = self.entropies * self.mask
        shaped = (weight * self.advantages).sum(1) * self.outcome.sign()
        sums = torch.stack([shaped, weight.sum(1) * self.outcome.abs()], dim=1)
        return torch.stack([sums[self.outcome > 0].sum(0), sums[self.outcome < 0].sum(0)])

    def tensors(self) -> dict[str, Tensor]:
        """What a bad step keeps of the rollouts for inspection; the latents would be too large."""
        names = ("completion_ids", "mask", "outcome", "advantages", "logps", "entropies", "rewards")
        kept = {name: getattr(self, name) for name in names}
        return kept | ({"deviation": self.flow.deviation, "flow_reward": self.flow.reward} if self.flow else {})

    @property
    def is_finite(self) -> bool:
        """Whether a record of these rollouts can be written: no figure of any token is NaN or infinite."""
        return all(
            bool(values[self.mask].isfinite().all())
            for values in self.tensors().values()
            if values.shape == self.mask.shape and values.is_floating_point()
        )

    def records(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> tuple[list[RolloutRecord], dict[str, Any]]:
        """Records of the first `limit` rollouts of the main process, and their images by file name."""
        records: list[RolloutRecord] = []
        images: dict[str, Any] = {}
        seen: dict[str, int] = {}
        rollouts = [ids[mask].tolist() for ids, mask in zip(self.completion_ids[:limit], self.mask, strict=False)]
        texts = {token: str(tokenizer.decode([token])) for token in set().union(*rollouts)}
        columns = {"advantages": self.advantages, "logprob": self.logps, "entropy": self.entropies}
        if self.flow is not None:
            columns |= {"deviation": self.flow.deviation, "flow_reward": self.flow.reward}
        figures: dict[str, Any] = {name: self._by_rollout(values, limit) for name, values in columns.items()}
        for i, (row, ids) in enumerate(zip(self.inputs, rollouts, strict=False)):
            rewards = [None if value != value else value for value in self.rewards[i].tolist()]  # NaN: not graded
            accuracy, problem_id = rewards[self._accuracy_column], problem_id_of(row)
            named = {f"{_file_name(problem_id)}-{k}.png": image for k, image in enumerate(images_of(row))}
            images |= named
            seen[problem_id] = seen.get(problem_id, -1) + 1
            records.append(
                RolloutRecord(
                    step=self.step,
                    problem_id=problem_id,
                    sample=seen[problem_id],
                    prompt=conversation_text(row.get("prompt") or "", image="<image>"),
                    images=list(named),
                    solution=str(row.get("solution", "")),
                    completion=str(tokenizer.decode(ids, skip_special_tokens=True)),
                    rewards=dict(zip(self.reward_names, rewards, strict=True)),
                    correct=None if accuracy is None else accuracy == 1,
                    advantage=round(self.outcome[i].item(), 6),
                    tokens=[texts[token] for token in ids],
                    **{name: values[i] for name, values in figures.items()},
                )
            )
        return records, images

    def _by_rollout(self, values: Tensor, limit: int) -> list[list[float]]:
        """The values (B, T) at the tokens of each of the first `limit` rollouts, with five significant digits."""
        mask = self.mask[:limit]
        parts = values[:limit][mask].split(mask.sum(1).tolist())
        return [[float(f"{value:.5g}") for value in part.tolist()] for part in parts]


def problem_id_of(row: dict[str, Any]) -> str:
    """The row's problem_id, or for a dataset without ids a digest of its prompt and images."""
    if row.get("problem_id") is not None:
        return str(row["problem_id"])
    digest = hashlib.sha256(conversation_text(row.get("prompt") or "").encode())
    for image in images_of(row):
        digest.update(image.tobytes())
    return digest.hexdigest()[:12]


def images_of(row: dict[str, Any]) -> list[Image.Image]:
    """The images of a row in any of TRL's layouts: in `images`, in `image`, or inside the messages of its prompt."""
    prompt = row.get("prompt") or ""
    contents = [] if isinstance(prompt, str) else [message.get("content") for message in prompt]
    inside = [part.get("image") for content in contents if isinstance(content, list) for part in content]
    found = row.get("images") or [row.get("image")]
    return [image for image in found if isinstance(image, Image.Image)] or [
        image for image in inside if isinstance(image, Image.Image)
    ]


def _file_name(problem_id: str) -> str:
    """The id if it can be a file name, else a hash of it, so that no two ids share a file."""
    if re.fullmatch(r"[\w.-]+", problem_id) and len(problem_id.encode()) <= 100:  # file systems count bytes
        return problem_id
    return hashlib.sha256(problem_id.encode()).hexdigest()[:32]
