"""Two training steps on real records: MATH-V problems and images, with Qwen2.5-VL's own tokenizer and processor."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from rlfr_mm import train
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import CPU

VOCABULARY = 151_665  # entries of the real tokenizer
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": VOCABULARY,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [1],
}


@pytest.fixture
def policy(shared: Path, tmp_path: Path) -> Path:
    """A small Qwen2.5-VL with the full vocabulary, next to the real processor files."""
    files = shared / "qwen25vl_processor"
    folder = tmp_path / "policy"
    config = AutoConfig.for_model("qwen2_5_vl", text_config=TEXT, vision_config=VISION)
    real = json.loads((files / "config_3B_transcribed.json").read_text())
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        setattr(config, name, real[name])
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = [151645, 151643], 151643
    model.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "chat_template.json", "preprocessor_config.json"):
        (folder / name).write_bytes((files / name).read_bytes())
    return folder


def test_two_steps_on_math_vision_with_the_real_processor(policy: Path, shared: Path, tmp_path: Path):
    values = {
        "model": {"name_or_path": str(policy), "dtype": "float32"},
        "data": {"source": str(shared / "hub" / "MathLLMs" / "MathVision"), "split": "testmini", "limit": 12,
                 "max_pixels": 50_176},
        "flow": {"num_blocks": 2, "random_start": True},
        "update": {"accept_reward": 0.0},
        "train": CPU | {"output_dir": str(tmp_path / "run"), "max_steps": 2, "per_device_train_batch_size": 4,
                        "num_generations": 2, "max_completion_length": 6},
    }  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    train.main(["--config", str(config)])
    records = list(read_rollouts(tmp_path / "run"))
    assert len(records) == 8 and {record.step for record in records} == {1, 2}
    for record in records:
        assert "<think>" in record.prompt  # the instruction of the multimodal protocol
        assert len(record.deviation) == len(record.tokens) > 0
        assert any(record.deviation)
        assert (tmp_path / "run" / "rollouts" / "images" / record.images[0]).is_file()
    assert (tmp_path / "run" / "final" / "flow" / "flow.safetensors").is_file()
