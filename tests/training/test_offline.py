"""The offline start sees the policy in the precision in which the run computes."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

# A process of its own, because an Accelerator fixes the precision for the whole process.
SCRIPT = """
import sys, torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoProcessor
from rlfr_mm.config import FlowConfig, ModelArguments, OfflineConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import record_latents
from rlfr_mm.policy import encode_demonstrations, load_policy
from rlfr_mm.quickstart import world
from rlfr_mm.training.offline import OfflineStart

policy = load_policy(ModelArguments(sys.argv[1])).eval()
processor = AutoProcessor.from_pretrained(sys.argv[1], padding_side="left")
rows = world.rows(2, "train", [2])
accelerator = Accelerator(cpu=True, mixed_precision="bf16")
start = OfflineStart(policy, processor, rows, FlowConfig(), OfflineConfig(), sys.argv[2], accelerator)
start.field = FlowField.for_policy(FlowConfig(), policy.config)
latents = start._latents([0, 1])

def recorded(bf16):
    inputs, _ = encode_demonstrations(rows, processor, 4096)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        with record_latents(policy, start.field.layer_indices, latents.mask) as recorder:
            policy(**inputs)
    return recorder.passes[0].values

assert torch.equal(latents.values, recorded(True)) and not torch.equal(latents.values, recorded(False))
"""


def test_latents_of_the_offline_start_have_the_precision_of_the_run(tiny_policy: Path, tmp_path: Path):
    command = [sys.executable, "-c", SCRIPT, str(tiny_policy), str(tmp_path / "flow")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
