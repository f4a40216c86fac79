"""Runs that share an offline start: the second takes the field of the first, and nobody takes another one."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoProcessor

from rlfr_mm import train_flow
from rlfr_mm.config import DataArguments, FlowConfig, ModelArguments, OfflineConfig
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import damage
from rlfr_mm.policy import load_policy
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.shared_fields import digest, run_or_take
from rlfr_mm.training.stopping import StopSignals


def demonstrations(level: int) -> Dataset:
    return load_demonstrations(DataArguments("quickstart", instruction="none", levels=[level], limit=4))


@pytest.fixture
def start(tiny_policy: Path, tmp_path: Path) -> OfflineStart:
    policy = load_policy(ModelArguments(str(tiny_policy)))
    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    config = OfflineConfig(max_steps=2, shared_dir=str(tmp_path / "fields"))
    rows, flow = demonstrations(2), FlowConfig(num_blocks=1)
    return OfflineStart(policy, processor, rows, flow, config, tmp_path / "a" / "flow", Accelerator(cpu=True))


def like(start: OfflineStart, folder: Path, **changed: object) -> OfflineStart:
    """The offline start of another run in `folder`, with some arguments changed."""
    names = ("policy", "processor", "demonstrations", "flow", "config")
    return OfflineStart(
        **({n: getattr(start, n) for n in names} | changed), folder=folder, accelerator=start.accelerator
    )


def test_the_second_run_takes_the_field_of_the_first(start: OfflineStart, tmp_path: Path, capsys):
    passes: list[int] = []
    start.policy.get_decoder().layers[0].register_forward_hook(lambda *_: passes.append(1))
    run_or_take(start, StopSignals(""))
    trained = len(passes)
    assert trained and "taken" not in capsys.readouterr().out

    second = like(start, tmp_path / "b" / "flow")
    (second.folder / "checkpoint-1").mkdir(parents=True)  # of an earlier attempt that was killed
    run_or_take(second, StopSignals(""))
    [kept] = (tmp_path / "fields").iterdir()
    assert len(passes) == trained and f"flow field: taken from {kept}" in capsys.readouterr().out
    files = sorted(path.name for path in start.folder.iterdir())
    assert files == sorted(path.name for path in second.folder.iterdir()) and "log.jsonl" in files
    for name in files:
        assert (start.folder / name).read_bytes() == (second.folder / name).read_bytes()
    assert damage(second.folder) is None


def test_a_damaged_field_is_made_again(start: OfflineStart, tmp_path: Path, capsys):
    run_or_take(start, StopSignals(""))
    [weights] = (tmp_path / "fields").glob("*/flow.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    second = like(start, tmp_path / "b" / "flow")
    run_or_take(second, StopSignals(""))
    assert "flow.safetensors" in (told := capsys.readouterr().err) and "the field is made again" in told
    assert weights.read_bytes() == whole == (second.folder / "flow.safetensors").read_bytes()


def test_another_policy_other_rows_or_other_settings_are_another_field(start: OfflineStart, tmp_path: Path):
    """Also where the name of the policy or of the rows is the same."""
    folder = tmp_path / "b"
    found = {digest(start)}
    assert digest(like(start, folder)) in found
    assert digest(like(start, folder, config=replace(start.config, shared_dir="elsewhere"))) in found
    found.add(digest(like(start, folder, config=replace(start.config, seed=1))))
    found.add(digest(like(start, folder, flow=replace(start.flow, num_blocks=2))))
    found.add(digest(like(start, folder, demonstrations=demonstrations(3))))
    start.processor.chat_template += " "
    found.add(digest(start))
    with torch.no_grad():
        next(start.policy.parameters()).view(-1)[0] += 1e-3
    found.add(digest(start))
    assert len(found) == 6


def test_an_image_counts_with_its_content(start: OfflineStart, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(
        '{"problem": "<image>How many?", "answer": "1", "completion": "1", "image": "a.png"}\n'
    )
    found = set()
    for colour in ("red", "blue", "red"):
        Image.new("RGB", (56, 56), colour).save(tmp_path / "a.png")
        rows = load_demonstrations(DataArguments(str(tmp_path / "rows.jsonl")))
        found.add(digest(like(start, tmp_path / "b", demonstrations=rows)))
    assert len(found) == 2


def test_the_sizes_of_images_count(start: OfflineStart):
    before = digest(start)
    start.processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    assert digest(start) != before


def test_an_adapter_counts_once_it_adds_something(start: OfflineStart, tmp_path: Path):
    """Its random half follows the seed of the RL, with which the field has nothing to do."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
        policy = get_peft_model(copy.deepcopy(start.policy), adapter)
        found.append(digest(like(start, tmp_path / "b", policy=policy)))
    assert found[0] == found[1]
    with torch.no_grad():
        next(weight for name, weight in policy.named_parameters() if "lora_B" in name).view(-1)[0] = 1
    assert digest(like(start, tmp_path / "b", policy=policy)) not in found


def test_a_field_that_cannot_be_left_is_still_in_its_run(start: OfflineStart, tmp_path: Path, capsys):
    (tmp_path / "fields").write_text("a file in the place of the folder")
    run_or_take(start, StopSignals(""))
    assert damage(start.folder) is None and (start.folder / "flow.safetensors").is_file()
    assert f"the flow field is in {start.folder} only" in capsys.readouterr().err


def test_a_taken_field_is_opened_again_from_another_name_of_the_folder(start: OfflineStart, tmp_path: Path):
    """As after a kill between the copy and the record of the stage, in a folder that has been moved."""
    run_or_take(start, StopSignals(""))
    second = like(start, tmp_path / "b" / "flow")
    run_or_take(second, StopSignals(""))
    again = like(start, second.folder, config=replace(start.config, shared_dir=f"{tmp_path}/./fields"))
    run_or_take(again, StopSignals(""))


def test_training_a_field_by_itself_does_not_share(tiny_policy: Path, tmp_path: Path, capsys):
    settings = tmp_path / "flow.yaml"
    settings.write_text(f"model: {{name_or_path: {tiny_policy}}}\noffline: {{shared_dir: fields, output_dir: flow}}\n")
    with pytest.raises(SystemExit):
        train_flow.main(["--config", str(settings), f"offline.output_dir={tmp_path / 'flow'}"])
    assert capsys.readouterr().err.splitlines() == [
        "error: offline.shared_dir works in rlfr_mm.train only: set `field` in the runs that use this field"
    ]
