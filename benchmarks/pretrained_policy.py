"""A pretrained policy that `warm_policy.py` wrote: its problems, its rollouts on them, and fields of its latents."""

import argparse
import hashlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from score_ranking import GROUP
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoTokenizer

from rlfr_mm.config import DataArguments, FlowConfig, FlowRewardConfig, ModelArguments, OfflineConfig
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import read_json, sha256, write_json
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents, record_latents
from rlfr_mm.method.loss import velocity_deviation
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.shared_fields import run_or_take
from rlfr_mm.training.stopping import StopSignals

LAYERS = (0.25, 0.5, 0.75)
DRAWS = 8
PASS = 32  # rollouts at once: the logits of 128 of them take 12 GB


class PolicyFolder:
    """What `warm_policy.py` has written: a policy with its problems. Rollouts and fields are kept there, too."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.folder = options, options.problems
        if not (self.folder / "warmup.json").exists():
            raise ValueError(
                f"{self.folder} holds no warmup.json: benchmarks/warm_policy.py --out {self.folder} makes it"
            )
        self.accelerator = Accelerator(mixed_precision=options.mixed_precision)
        policy = str(self.folder / "policy")
        self.policy = load_policy(ModelArguments(name_or_path=policy)).to(self.accelerator.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")

    def rows(self, split: str) -> Dataset:
        """The problems of a split, with expert solutions; they say themselves what to do."""
        return load_demonstrations(DataArguments(source=str(self.folder / f"{split}.jsonl"), instruction="none"))

    def answers(self, rows: list[dict[str, Any]], name: str) -> list[str]:
        """`GROUP` sampled responses per problem, which are kept for the next time."""
        sampling: dict[str, Any] = {"max_new_tokens": self.options.tokens, "temperature": 1.0, "seed": 0}
        sampling["batch_size"] = self.options.batch
        made_from = [sampling, self.options.mixed_precision, sha256(self.folder / "policy" / "model.safetensors")]
        made_from += [row["prompt"] for row in rows]
        kept = self.folder / f"rollouts-{name}-{hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]}.json"
        if not kept.exists():
            with self.accelerator.autocast():
                texts = answer_problems(
                    self.policy, self.tokenizer, repeated(rows), description=f"rollouts, {name}", **sampling
                )
            write_json(kept, texts)
        return read_json(kept)

    def field(self, demonstrations: Dataset, **settings: Any) -> FlowField:
        """The field after its offline start on expert solutions, which is kept for the next time."""
        flow = FlowConfig(**({"standardise": True, "flow_layers": list(LAYERS)} | settings))
        offline = OfflineConfig(
            num_train_epochs=self.options.epochs, batch_size=64, learning_rate=5e-4, cache_latents=True,
            max_response_tokens=self.options.tokens, shared_dir=str(self.folder / "fields"),
        )  # fmt: skip
        working = self.folder / "fields" / "training"
        start = OfflineStart(self.policy, self.tokenizer, demonstrations, flow, offline, working, self.accelerator)
        run_or_take(start, StopSignals(""))
        field = FlowField.from_pretrained(working).to(self.policy.device)
        shutil.rmtree(working)
        field.multiply_like(self.options.mixed_precision == "bf16")
        return field


def repeated(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row `GROUP` times in a row."""
    return [row for row in rows for _ in range(GROUP)]


class Rollouts:
    """N rollouts of at most T tokens, `GROUP` per prompt, with the latents of all flow layers.

    Args:
        texts: the responses; those of a problem follow each other.
        mixed: leave out groups with one outcome, which say nothing about the order within a group.
    """

    def __init__(self, folder: PolicyFolder, rows: list[dict[str, Any]], texts: list[str], mixed: bool):
        policy, options = folder.policy, folder.options
        answered = [{**row, "completion": text} for row, text in zip(repeated(rows), texts, strict=True)]
        rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in answered])
        correct = torch.tensor([reward == 1 for reward in rewards])
        self.accuracies = correct.view(-1, GROUP).float().mean(1)  # of all groups
        both = (self.accuracies > 0) & (self.accuracies < 1)
        kept = (both if mixed else torch.ones_like(both)).repeat_interleave(GROUP)
        if not kept.any():
            accuracy = f"accuracy {self.accuracies.mean():.1%}"
            raise ValueError(f"no group of {GROUP} has both outcomes ({accuracy}): warm the policy up for longer")
        answered = [row for row, keep in zip(answered, kept.tolist(), strict=True) if keep]
        self.correct = correct[kept]
        self.prompt = np.arange(len(answered)) // GROUP
        self.parts: list[Latents] = []
        ids, logps, entropies, masks = [], [], [], []
        self.layers = [round(fraction * policy.config.num_hidden_layers) for fraction in LAYERS]
        for start in tqdm(range(0, len(answered), PASS), desc="latents", unit="batch"):
            batch = answered[start : start + PASS]
            inputs, mask = encode_demonstrations(batch, folder.tokenizer, options.tokens)
            inputs, mask = {name: value.to(policy.device) for name, value in inputs.items()}, mask.to(policy.device)
            length, recording = mask.shape[1], record_latents(policy, self.layers, mask)
            with torch.no_grad(), folder.accelerator.autocast(), recording as recorder:
                logits = policy(**inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1].float()
            self.parts += recorder.passes
            spread = logits.log_softmax(-1)
            tokens = inputs["input_ids"][:, -length:]
            ids += list(tokens.cpu())
            logps += list(spread.gather(-1, tokens[..., None])[..., 0].cpu())
            entropies += list(-(spread.exp() * spread).sum(-1).cpu())
            masks += list(mask.cpu())
        self.ids, self.logps, self.entropies, self.mask = (
            pad_sequence(values, batch_first=True) for values in (ids, logps, entropies, masks)
        )

    def latents(self, field: FlowField) -> list[Latents]:
        """The latents of the field's layers, in parts."""
        index = [self.layers.index(layer) for layer in field.layer_indices]
        return [Latents(part.values[:, index], part.mask) for part in self.parts]

    def deviations(self, field: FlowField, config: FlowRewardConfig, salt: int, draws: int = 1) -> Tensor:
        """(N, T) velocity deviations, averaged over draws; the rollouts of a prompt share their noise."""
        total = torch.zeros(self.mask.shape)
        for draw in range(draws):
            first = 0
            for part in self.latents(field):
                numbers = torch.arange(first, first + len(part.mask)) // GROUP
                seeds = numbers + 1_000_003 * (salt * DRAWS + draw)
                values = velocity_deviation(field, part, config, seeds).cpu().float()
                total[first : first + len(values), : values.shape[1]] += values / draws
                first += len(values)
        return total
