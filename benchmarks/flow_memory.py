"""Measure the memory that the flow adds to GRPO, and compute it for the paper's runs.

`python benchmarks/flow_memory.py --json benchmarks/results/flow_memory.json --page docs/performance.md`

- measured: two runs in one process, with the flow and without, on a small Qwen2.5-VL with fixed rollouts of unequal
  length, half of them accepted. Every tensor's bytes are counted while it lives. `ratio` is the difference of the two
  peaks, less the field's own optimiser state, over the latents of the accepted response tokens (tokens x layers x
  width x bytes). The field's forward passes have 4 rows per rollout, so that they are as small beside the latents as
  passes of 4,096 rows are in a run of the paper's size.
- computed: for each process of the paper's runs, from their YAML files.

On a GPU, benchmarks/gpu_check.py reports the peaks of the same two runs at the 3B shape.
"""

import argparse
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from gpu_check import FixedRollouts, half_right, policy_of
from timing import publish
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import AutoProcessor

from rlfr_mm.config import FlowConfig, RLFRConfig, RunConfig
from rlfr_mm.config_file import build, load_config
from rlfr_mm.files import write_whole
from rlfr_mm.method import loss
from rlfr_mm.method.field import FlowField
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.policy import build_policy
from rlfr_mm.training.rollout_batch import RolloutBatch
from rlfr_mm.training.run_folder import environment

ROOT = Path(__file__).resolve().parent.parent
ROLLOUTS, PER_MICRO_BATCH, TOKENS = 64, 4, 256
PROCESSES = 4  # of the paper's runs, as their YAML files say
PAPER = {"paper_vl_3b": (2048, 4), "paper_vl_7b": (3584, 6)}  # hidden size and blocks of the field
MARKS = "<!-- memory: written by benchmarks/flow_memory.py -->\n", "<!-- end of memory -->\n"


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made inside it, while they live: `now`, and `peak` so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._add, made)
        return made

    def _add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, storage._cdata, storage.nbytes())
        return tensor

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class CountedRollouts(FixedRollouts):
    """Adds up the response tokens of accepted rollouts of the last batch."""

    accepted = 0

    def _finish(self, batch: RolloutBatch) -> None:
        self.accepted = int(batch.mask[batch.accuracy >= 1].sum())
        super()._finish(batch)


def peak(shaping: str, scratch: Path, rollouts: int) -> tuple[int, CountedRollouts]:
    """The peak of two training steps, and the trainer."""
    processor = AutoProcessor.from_pretrained(scratch / "policy", padding_side="left")
    policy = policy_of("tiny", processor, torch.device("cpu"))
    columns = ("prompt", "images", "solution", "problem_id")
    rows = [{key: row[key] for key in columns} for row in world.rows(16, "train", [2])]
    settings = {
        "output_dir": str(scratch / shaping), "advantage_shaping": shaping, "max_steps": 2, "num_generations": 8,
        "per_device_train_batch_size": PER_MICRO_BATCH, "gradient_accumulation_steps": rollouts // PER_MICRO_BATCH,
        "max_completion_length": TOKENS, "bf16": False, "use_cpu": True, "gradient_checkpointing": True,
        "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "rollouts_per_step": 0,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    field = FlowField.for_policy(FlowConfig(width=32), policy.config) if shaping == "flow" else None
    trainer = CountedRollouts(
        model=policy, reward_funcs=half_right, args=build(RLFRConfig, settings), processing_class=processor,
        train_dataset=Dataset.from_list(rows), field=field,
    )  # fmt: skip
    trainer.max_tokens = TOKENS
    with LiveBytes() as live:
        trainer.train()
    return live.peak, trainer


def measure(rollouts: int) -> dict[str, Any]:
    loss.TOKENS_PER_FORWARD = 4 * rollouts
    with tempfile.TemporaryDirectory() as scratch:
        build_policy(Path(scratch) / "policy")
        without, _ = peak("none", Path(scratch), rollouts)
        with_flow, trainer = peak("flow", Path(scratch), rollouts)
    assert trainer.flow is not None
    field, policy_width = trainer.flow.field, trainer.model.config.get_text_config().hidden_size
    state = 8 * sum(parameter.numel() for parameter in field.parameters())  # Adam's two moments
    latents = trainer.accepted * len(field.layer_indices) * policy_width * 4
    return {
        "peak_mib": {"none": without / 2**20, "flow": with_flow / 2**20},
        "optimiser_state_mib": state / 2**20,
        "accepted_latents_mib": latents / 2**20,
        "rollouts": rollouts,
        "ratio": (with_flow - without - state) / latents,
    }


def computed() -> list[dict[str, Any]]:
    """GiB per process of the paper's runs: the latents of accepted rollouts, and the field with its optimiser."""
    rows = []
    for name, (hidden, blocks) in PAPER.items():
        config = load_config(RunConfig, str(ROOT / "configs/rl" / f"{name}.yaml"), [])
        train = config.train
        rollouts = train["generation_batch_size"] // PROCESSES
        shape = FlowConfig(hidden_size=hidden, num_policy_layers=36, rms_norm_eps=1e-6, num_blocks=blocks)
        parameters = sum(parameter.numel() for parameter in FlowField(shape).parameters())
        per_token, longest = len(config.flow.flow_layers) * hidden, train["max_completion_length"]
        row = {"run": name, "rollouts": rollouts, "longest": longest, "field_gib": 16 * parameters / 2**30}
        for dtype, size in (("bf16", 2), ("float32", 4)):
            row[f"longest_{dtype}_gib"] = rollouts * longest * per_token * size / 2**30
            row[f"typical_{dtype}_gib"] = rollouts / 2 * 500 * per_token * size / 2**30
        rows.append(row)
    return rows


def section(figures: dict[str, Any]) -> str:
    """The memory section of docs/performance.md."""
    measured = figures["measured"]
    lines = [
        f"Measured on a small Qwen2.5-VL with {measured['rollouts']} rollouts of up to {TOKENS} tokens, half of them "
        f"accepted: the peak grows by {measured['ratio']:.2f} times the accepted latents, plus the field's optimiser.",
        "",
        f"Computed per process, for {PROCESSES} processes. *Typical* means that half of the rollouts are accepted and "
        "have 500 tokens; *longest* that all are accepted and have the longest length.",
        "",
        "| run | rollouts | latents, typical, bf16 / float32 | latents, longest, bf16 / float32 | field and AdamW |",
        "|---|---|---|---|---|",
    ]
    for row in figures["computed"]:
        typical, longest = (
            " / ".join(f"{row[f'{case}_{dtype}_gib']:.1f}" for dtype in ("bf16", "float32")) + " GiB"
            for case in ("typical", "longest")
        )
        field = f"{row['field_gib']:.1f} GiB"
        lines.append(f"| `{row['run']}` | {row['rollouts']} | {typical} | {longest} | {field} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS, help="rollouts per step, a multiple of 8")
    parser.add_argument("--json", type=Path, help="file for the record; it is always printed")
    parser.add_argument("--page", type=Path, help="page whose memory section is rewritten")
    arguments = parser.parse_args()
    figures = {"measured": measure(arguments.rollouts), "computed": computed(), **environment()}
    publish(figures, arguments.json)
    if arguments.page:
        start, end = MARKS
        before, _, rest = arguments.page.read_text().partition(start)
        write_whole(arguments.page, before + start + section(figures) + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
