"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("rlfr_mm", "tasks", "eval", "benchmarks")
MODULES = sorted(
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
# these need a policy, a run, a data set or a module of the reader's own, or show an error
ONLY_READ = {
    "eval.engine.backends.load_checkpoint",
    "eval.engine.comparing.load_method",
    "eval.engine.exporting.export",
    "eval.engine.harness.build_backend",
    "eval.engine.running.evaluate",
    "rlfr_mm.data.dataset_folder.cached_folder",
    "rlfr_mm.data.encode_once.encode_once",
    "rlfr_mm.data.images.store_image",
    "rlfr_mm.data.load.load_problems",
    "rlfr_mm.experiments.runner.open_experiment",
    "rlfr_mm.files.check_folder",
    "rlfr_mm.files.whole_folder",
    "rlfr_mm.method.field.FlowField.from_pretrained",
    "rlfr_mm.method.latents.record_latents",
    "rlfr_mm.method.loss.deviation_by_draw",
    "rlfr_mm.policy.load_policy",
    "rlfr_mm.policy.policy_without_weights",
    "rlfr_mm.precheck.check_data",
    "rlfr_mm.quickstart.policy.build_policy",
    "rlfr_mm.step_files.StepFiles",
    "rlfr_mm.training.estimate.memory",
    "rlfr_mm.training.latent_cache.LatentCache",
    "rlfr_mm.training.own_rewards.load_rewards",
    "rlfr_mm.training.shared_fields.run_or_take",
    "rlfr_mm.training.trainer.RLFRTrainer",
    "rlfr_mm.viewing.page.charts.line_chart",
    "tasks.registry",
    "tasks.spec.TaskSpec.item",
}


def _examples(module: Path) -> list[doctest.DocTest]:
    name = ".".join(module.with_suffix("").parts).removesuffix(".__init__")
    return [found for found in doctest.DocTestFinder().find(importlib.import_module(name), name) if found.examples]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_examples_of_a_module_give_what_they_say(module: Path, capsys: pytest.CaptureFixture[str]):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in _examples(module):
        if example.name not in ONLY_READ:
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out


def test_examples_that_are_only_read_exist():
    assert {example.name for module in MODULES for example in _examples(module)} >= ONLY_READ
