"""The offline start sees the policy in the precision of the run, and sees each row once if latents are cached."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoProcessor

from rlfr_mm.config import FlowConfig, ModelArguments, OfflineConfig
from rlfr_mm.files import MANIFEST, damage
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.policy import load_policy
from rlfr_mm.quickstart import world
from rlfr_mm.training import offline
from rlfr_mm.training.latent_cache import LatentCache
from rlfr_mm.training.offline import OfflineStart
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


def test_cached_latents_save_the_passes_of_later_epochs_and_change_nothing(
    tiny_policy: Path, tmp_path: Path, capsys, monkeypatch
):
    policy = load_policy(ModelArguments(str(tiny_policy)))
    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    rows, flow = world.rows(10, "train", [2, 3]), FlowConfig(num_blocks=1, batch_multiplier=1, standardise=True)
    encoded: list[int] = []
    policy.get_decoder().layers[0].register_forward_hook(lambda _, inputs, output: encoded.append(len(output)))
    fields, passed = [], []
    for cached, small in ((False, 0), (True, 0), (False, 1e6)):  # a small cache need not be asked for
        monkeypatch.setattr(offline, "SMALL_CACHE", small)
        config = OfflineConfig(batch_size=4, num_train_epochs=3, cache_latents=cached, learning_rate=1e-2)
        folder = tmp_path / f"{cached}-{small}"
        fields.append(OfflineStart(policy, processor, rows, flow, config, folder, Accelerator(cpu=True)).run())
        passed.append(sum(encoded))
        encoded.clear()
        assert not list(folder.glob("latents-*"))
    assert passed == [10 + 3 * 10, 10, 10]  # for the statistics and in three epochs, or once
    for field in fields[1:]:
        for name, value in fields[0].state_dict().items():
            torch.testing.assert_close(field.state_dict()[name], value, rtol=1e-3, atol=5e-4)
    assert capsys.readouterr().out.count("latents of 10 rows: about 0.00 GB in") == 1


def test_a_start_that_was_killed_while_it_tidied_up_is_not_trained_again(tiny_policy: Path, tmp_path: Path):
    policy = load_policy(ModelArguments(str(tiny_policy)))
    processor, rows = AutoProcessor.from_pretrained(tiny_policy, padding_side="left"), world.rows(4, "train", [2])

    def start() -> OfflineStart:
        flow, config = FlowConfig(num_blocks=1, standardise=True), OfflineConfig(batch_size=2, max_steps=3)
        return OfflineStart(policy, processor, rows, flow, config, tmp_path, Accelerator(cpu=True))

    field = start().run()
    whole = sorted(path.name for path in tmp_path.iterdir())
    passes: list[int] = []
    policy.get_decoder().layers[0].register_forward_hook(lambda *_: passes.append(1))
    (tmp_path / MANIFEST).unlink()
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "latents-1.bin").touch()  # of a process that was killed, too
    again = start().run()
    assert sorted(path.name for path in tmp_path.iterdir()) == whole and damage(tmp_path) is None and not passes
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in field.state_dict().items())


def test_a_full_disk_ends_a_small_cache_and_not_the_start(tiny_policy: Path, tmp_path: Path):
    policy, rows = load_policy(ModelArguments(str(tiny_policy))), world.rows(2, "train", [2])
    processor, flow = AutoProcessor.from_pretrained(tiny_policy, padding_side="left"), FlowConfig(num_blocks=1)
    for asked in (False, True):
        config = OfflineConfig(cache_latents=asked)
        start = OfflineStart(policy.eval(), processor, rows, flow, config, tmp_path, Accelerator(cpu=True))
        start.field = FlowField.for_policy(flow, policy.config)
        (tmp_path / "latents-0.bin").symlink_to("/dev/full")
        start.cache = LatentCache(tmp_path / "latents-0.bin")
        if asked:
            with pytest.raises(OSError, match="No space left on device"):
                start._latents([0, 1])
            continue
        assert torch.equal(start._latents([0, 1]).values, start._computed_latents([0, 1]).values)
        assert start.cache is None and not list(tmp_path.iterdir())


def test_a_cache_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path, monkeypatch):
    cache = LatentCache(tmp_path / "latents-0.bin")
    values = torch.arange(7 * 2 * 4, dtype=torch.bfloat16).view(7, 2, 4)
    cache.add([5, 3], Latents(values, torch.tensor([[True, True, True], [True, True, False]])))
    assert torch.equal(cache.get([3]).values, values[4:]) and cache.get([3]).mask.tolist() == [[True, True]]
    assert torch.equal(cache.get([3, 5]).values, torch.cat([values[4:], values[:4]]))
    free = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    bytes_per_row = 7 * 2 * 4 * 2 / 2
    fits = int(1e9 / bytes_per_row)
    assert f"{fits} rows: about 1.00 GB" in cache.announce(fits, processes=1)
    with pytest.raises(ValueError, match=r"offline.cache_latents: latents need about 2\.0 GB in .*, which has 1\.0 GB"):
        cache.announce(fits, processes=2)
    cache.close()
    assert not list(tmp_path.iterdir())
