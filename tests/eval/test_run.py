"""The options of `eval.run`, from a YAML file and the command line."""

import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine.plan import generation_settings
from rlfr_mm.tasks import registry
from tests.conftest import ROOT


def test_a_yaml_gives_options_and_the_command_line_wins(arguments, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text("tasks: [rlfr_quickstart, rlfr_gsm8k]\nlimit: 7\nallow_changed_data: true\n")
    args = run.parse_args(["--config", str(config), "--model", "dummy", "--output_dir", "x", "--limit", "3"])
    assert (args.tasks, args.limit, args.allow_changed_data) == ("rlfr_quickstart,rlfr_gsm8k", 3, True)
    config.write_text("task: rlfr_quickstart\n")
    with pytest.raises(ValueError, match="unknown task"):
        run.parse_args(["--config", str(config)])


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "eval").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_are_accepted(path):
    args = run.parse_args(["--config", str(path), "--model", "dummy", "--output_dir", "x"])
    specs = registry.expand(args.tasks.split(","))
    assert specs and all(generation_settings(spec, spec.samples, {}) for spec in specs)
