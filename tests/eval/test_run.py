"""The options of `eval.run`, from a YAML file and the command line."""

import subprocess
import sys

import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine.plan import generation_settings
from rlfr_mm.tasks import registry
from tests.conftest import ROOT
from tests.eval.commands import exit_status


def test_a_yaml_gives_options_and_the_command_line_wins(arguments, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text("tasks: [rlfr_quickstart, rlfr_gsm8k]\nlimit: 7\nallow_changed_data: true\n")
    args = run.parse_args(["--config", str(config), "--model", "dummy", "--output_dir", "x", "--limit", "3"])
    assert (args.tasks, args.limit, args.allow_changed_data) == ("rlfr_quickstart,rlfr_gsm8k", 3, True)
    config.write_text("task: rlfr_quickstart\n")
    with pytest.raises(ValueError, match="unknown task"):
        run.parse_args(["--config", str(config)])


@pytest.mark.parametrize("content", ["help: true\n", "config: other.yaml\n"])
def test_a_yaml_cannot_ask_for_help_or_name_another_configuration(content, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(content)
    with pytest.raises(ValueError, match=r"unknown (help|config); the options are"):
        run.parse_args(["--config", str(config)])


def test_a_yaml_may_give_generation_settings_as_a_mapping(tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text("gen_kwargs: {max_new_tokens: 8, temperature: 0.5}\nmodel: dummy\ntasks: a\noutput_dir: x\n")
    assert run.parse_args(["--config", str(config)]).gen_kwargs == "max_new_tokens=8,temperature=0.5"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("allow_changed_data: 'false'", "allow_changed_data='false' must be true or false, without quotes"),
        ("allow_changed_data: 0", "allow_changed_data=0 must be true or false"),
        ("limit: true", "argument --limit: True must be a whole number"),
        ("tasks: true", "unknown task 'True'"),
    ],
)
def test_true_and_false_are_the_values_of_flags_alone(content, told, tmp_path, capsys):
    config = tmp_path / "small.yaml"
    config.write_text(f"{content}\n")
    options = ["--model", "dummy", "--output_dir", "x", *([] if "tasks" in content else ["--tasks", "rlfr_quickstart"])]
    assert exit_status(run.main, ["--config", str(config), *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_numbers_of_samples_are_whole_and_positive(text, capsys):
    with pytest.raises(SystemExit):
        run.parse_args(["--samples", text])
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_an_unknown_task_is_named_before_any_library_is_loaded():
    script = (
        "import sys, time; from rlfr_mm.eval import run\n"
        "try: run.main(['--model', 'dummy', '--tasks', 'rlfr_quickstrat', '--output_dir', 'x'])\n"
        "except SystemExit as end: status = end.code\n"
        "assert status == 2 and time.process_time() < 2 and 'torch' not in sys.modules, time.process_time()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "did you mean rlfr_quickstart" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "settings",
    ["max_tokens=7", "temperature=hot", "temperature=-1", "temperature=.nan", "max_new_tokens=0", "max_new_tokens=1.5",
     "top_p=0", "top_p=2", "top_k=-5"],
)  # fmt: skip
def test_generation_settings_are_refused_before_a_model_is_loaded(settings, capsys):
    options = ["--model", "rlfr=no_such_checkpoint", "--tasks", "rlfr_quickstart", "--output_dir", "x"]
    assert exit_status(run.main, [*options, "--gen_kwargs", settings]) == 2
    assert settings.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("notes.txt", "notes.txt is not a folder: choose"),
        ("notes.txt/run", "notes.txt is not a folder"),
        (".", "is not empty and is not a run folder of eval.run"),
    ],
)
def test_a_folder_that_cannot_hold_a_run_is_refused_before_a_model_is_loaded(folder, told, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("precious")
    options = ["--model", "rlfr=no_such_checkpoint", "--tasks", "rlfr_quickstart", "--output_dir"]
    assert exit_status(run.main, [*options, str(tmp_path / folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --output_dir ") and told in line
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "eval").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_are_accepted(path):
    args = run.parse_args(["--config", str(path), "--model", "dummy", "--output_dir", "x"])
    specs = registry.expand(args.tasks.split(","))
    assert specs and all(generation_settings(spec, spec.samples, {}) for spec in specs)
