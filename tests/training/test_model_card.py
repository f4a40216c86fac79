"""The card in final/ says what the policy is, what it scores, and how to use it; its snippet runs."""

import math
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from markdown_it import MarkdownIt
from PIL import Image

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.method.shaping import SHAPINGS
from rlfr_mm.training.model_card import METHODS, write_model_card
from rlfr_mm.viewing import run_page
from tests.conftest import ROOT

RESULTS = {
    "seed": 42,
    "steps": 150,
    "accuracy_before": {"accuracy": 0.46, "standard_error": 0.02, "n": 512},
    "accuracy_after": {"accuracy": 0.62, "standard_error": 0.0215, "n": 512},
    "versions": {"python": "3.11.7", "trl": "1.16.0"},
    "command": "python -m rlfr_mm.train --config configs/rl/quickstart.yaml",
}


@pytest.fixture
def card(tiny_policy: Path, tmp_path: Path):
    def write(*overrides: str, multimodal: bool = True, results: dict = RESULTS) -> tuple[Path, ModelCard]:
        folder = tmp_path / "run" / "final"
        shutil.copytree(tiny_policy, folder, dirs_exist_ok=True)
        config = load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), list(overrides))
        shutil.rmtree(folder / ".eval_results", ignore_errors=True)
        write_model_card(folder, config, results, "train: {}", multimodal)
        loaded = ModelCard.load(folder / "README.md")
        return folder, loaded

    return write


def test_the_card_names_base_data_pipeline_and_score(card):
    _, loaded = card("model.name_or_path=Qwen/Qwen2.5-VL-3B-Instruct", "data.source=FanqingM/MM-Eureka-Dataset")
    data = loaded.data
    assert data.base_model == "Qwen/Qwen2.5-VL-3B-Instruct" and data.datasets == ["FanqingM/MM-Eureka-Dataset"]
    assert data.pipeline_tag == "image-text-to-text" and "rlfr" in data.tags
    (result,) = data.eval_results
    assert result.metric_value == 62.0 and "57.7 to 66.1, n = 512" in result.metric_name
    assert "| after training | 62.0 % (95 % interval 57.7 to 66.1, n = 512) |" in loaded.content
    assert "2510.10201" in loaded.content and "None" not in loaded.content


def test_the_card_is_markdown_without_gaps_that_asks_as_training_did(card):
    for overrides, multimodal in (([], True), (["data.instruction=boxed"], False)):
        _, loaded = card(*overrides, multimodal=multimodal, results=RESULTS | {"rewards": {"accuracy": 1.0}})
        kinds = [token.type for token in MarkdownIt("commonmark").enable("table").parse(loaded.text)]
        assert kinds.count("table_open") == 1 and kinds.count("tr_open") == 3  # the head, before and after
        assert "\n\n\n" not in loaded.text
    assert "put your final answer within" in loaded.text.partition("```python")[2].partition("```")[0]


def test_a_local_base_is_named_but_not_linked(card):
    _, loaded = card()
    assert loaded.data.base_model is None and "`quickstart`" in loaded.content


def test_an_accuracy_of_no_graded_answer_is_left_out(card):
    none = {"accuracy": math.nan, "standard_error": math.nan, "n": 0}
    _, loaded = card(results=RESULTS | {"accuracy_after": none})
    assert "before training" in loaded.content and "after training" not in loaded.content
    assert loaded.data.eval_results is None


def test_a_whole_split_of_a_hub_dataset_becomes_a_leaderboard_entry(card):
    held_out = "evaluation.data={source: openai/gsm8k, name: main, split: test}"
    folder, _ = card(held_out)
    (entry,) = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results" / "held_out.yaml").read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "main", 62.0)
    assert "on the split test: 62.0 % (95 % interval 57.7 to 66.1, n = 512); one response" in entry.notes and entry.date


def test_several_answers_per_problem_narrow_the_interval_and_are_told(card):
    held_out = "evaluation={samples: 4, data: {source: openai/gsm8k, name: main, split: test}}"
    results = RESULTS | {"accuracy_after": RESULTS["accuracy_after"] | {"standard_error": 0.0107}}
    folder, _ = card(held_out, results=results)
    (entry,) = parse_eval_result_entries(yaml.safe_load((folder / ".eval_results" / "held_out.yaml").read_text()))
    assert "62.0 % (95 % interval 59.9 to 64.1, n = 512); 4 responses per problem at" in entry.notes


@pytest.mark.parametrize("slice", ["limit=512", "overlong=drop", "skip_bad_records=1", "source=problems.jsonl"])
def test_a_slice_never_passes_for_a_benchmark(card, slice):
    folder, loaded = card("evaluation.data={source: openai/gsm8k, name: main, split: test}", f"evaluation.data.{slice}")
    assert loaded.data.eval_results and not (folder / ".eval_results").exists()


def test_an_adapter_says_so(card):
    _, loaded = card("model.lora={r: 8}")
    assert loaded.data.library_name == "peft" and "A LoRA adapter for" in loaded.content


def test_the_snippet_runs(card, monkeypatch, capsys):
    folder, loaded = card()
    monkeypatch.chdir(folder.parent)
    Image.new("RGB", (84, 84), "white").save("problem.png")
    (snippet,) = re.findall(r"```python\n(.*?)```", loaded.content, re.DOTALL)
    exec(snippet.replace('folder = "run"', 'folder = "final"').replace("512", "4"), {})
    assert capsys.readouterr().out


def test_cards_and_pages_have_words_for_every_shaping(card):
    assert set(METHODS) == set(run_page.METHODS) == set(SHAPINGS)
    _, loaded = card("train.negative_weight=0.5", "train.advantage_shaping=none")
    assert "GRPO with verifiable rewards (RLVR), negative advantages times 0.5" in loaded.content
