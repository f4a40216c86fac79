"""Every block of code in the README and in docs/ works: commands, Python, YAML and rows, found by reading the pages.

What each kind of block goes through:

- Python is run, in a folder with the problems and runs that the pages talk about.
- YAML of a run is checked by `rlfr_mm.train --check` on a tiny policy, settings without data on top of a file with text
  problems. YAML that says how other data look is only built.
- Shell is read by bash, and each command by the parser of its program. Commands that only read a run are carried out,
  and so are evaluations of the trained policy; a training command of a documented YAML file gets `--check`. Whatever
  needs a GPU, a scheduler, a server or the hub ends at its parser and its configuration.
"""

import argparse
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from accelerate.commands.merge import merge_command_parser
from huggingface_hub import ModelCard
from lmms_eval.__main__ import parse_eval_args
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from trl.scripts.vllm_serve import make_parser as vllm_parser

from rlfr_mm.config import DataArguments, OfflineRunConfig, RunConfig
from rlfr_mm.config_file import build, load_config
from rlfr_mm.eval.export import FORMATS
from rlfr_mm.experiments.grid import ExperimentConfig
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from rlfr_mm.tasks import registry
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"sh": "shell", "python": "python", "yaml": "yaml", "json": "rows"}
FILE = re.compile(r"# ([\w./-]+\.(?:yaml|py))\b.*\n")  # a block that begins like this is a file
# What a page leaves open, and what stands for it here.
PLACEHOLDERS = {
    r"\bCHECKPOINT\b": "runs/my_run/final",
    r"\bRUN(_A|1|3)?\b": "runs/eval",
    r"\bRUN(_B|_C|2|4|5|6)\b": "runs/eval_again",
    r"\bOWNER/NAME\b": "{policy}",
    r"\$SLURM_PROCID/\$SLURM_NTASKS": "0/2",
    r"\bRANK\b": "0",
    r"\bADDRESS\b|\bHOST\b": "127.0.0.1",
    r"\bFORMAT\b": "csv",
    r"\bA,B\b|\bTASK\b": "rlfr_quickstart",
}
READ_ONLY = ("rlfr_mm.inspect", "eval.report", "eval.score", "eval.compare", "tasks.list")
TRAINED = Path("runs/my_run")
RUNS_OF_TRAINING = {"runs/eval": "runs/my_run", "runs/eval_again": "runs/quickstart"}
FORMATS_OF_ANY_TASK = ("csv", "markdown", "latex", "lmms-eval")
CONFIGS = {
    "rlfr_mm.train": RunConfig,
    "rlfr_mm.train_flow": OfflineRunConfig,
    "rlfr_mm.experiment": ExperimentConfig,
}
OF_THE_SHELL = {"cd", "export", "trap", "wait", "[", "scontrol"}
SHORT = ["--limit", "2", "--gen_kwargs", "max_new_tokens=4"]
ON_CPU = ["train.use_cpu=true", "train.bf16=false", "train.max_steps=2", "train.max_completion_length=8"]


@dataclass(frozen=True)
class Block:
    """A block of code: its place, what it is (shell, python, yaml, rows, or text of no language), and its text."""

    place: str
    kind: str
    text: str


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        for token in MarkdownIt().parse(page.read_text()):
            place = f"{page.name}:{1 + token.map[0]}" if token.map else ""
            if token.type == "fence" and not token.info.startswith("{"):  # those are Sphinx's
                yield Block(place, LANGUAGES.get(token.info, f"unknown language {token.info!r}"), token.content)
            elif token.type == "code_block":
                yield Block(place, _kind(token.content), token.content)


def _kind(text: str) -> str:
    """The language of a block that does not name it."""
    first = text.split(maxsplit=1)[0]
    if first.startswith("{"):
        return "rows"
    if first in {*PROGRAMS, *OF_THE_SHELL, "#SBATCH"} or "=" in first:
        return "shell"
    if first in ("from", "import") or (FILE.match(text) and ".py" in text.splitlines()[0]):
        return "python"
    return "yaml" if FILE.match(text) else "text"


# ---------------------------------------------------------------------------------------------------------- programs


class Parsed(Exception):
    """Ends a command of ours as soon as its own parser has read the arguments."""


def parsed(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What the command's parser makes of the arguments; the command itself does not start."""

    def ends(read: Any) -> Any:
        def read_and_end(*given: Any) -> None:
            raise Parsed(read(*given))

        return read_and_end

    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, ends(getattr(argparse.ArgumentParser, name)))
        with pytest.raises(Parsed) as stopped:
            command_of(module)(arguments)
    return stopped.value.args[0]


def files_shown() -> dict[str, str]:
    """The files that the pages show whole, by name."""
    return {file[1]: block.text for block in BLOCKS if (file := FILE.match(block.text))}


def runs_shown() -> set[str]:
    """The run folders that the YAML on the pages writes."""
    settings = [yaml.safe_load(text) for name, text in files_shown().items() if name.endswith(".yaml")]
    return {values["train"]["output_dir"] for values in settings if "output_dir" in values.get("train", {})}


def command_of(module: str) -> Any:
    return importlib.import_module(module if module.startswith("rlfr_mm.") else f"rlfr_mm.{module}").main


def python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of ours, or a script of the checkout."""
    if arguments[0] != "-m":
        assert Path(arguments[0]).is_file(), arguments
        return
    module, *rest = arguments[1:]
    if module.startswith(("rlfr_mm.eval.", "rlfr_mm.tasks.")):  # what eval.NAME is called outside of a checkout
        module = module.removeprefix("rlfr_mm.")
    if module.startswith("tests."):
        assert importlib.util.find_spec(module), module
        return
    if module == "rlfr_mm.inspect":
        rest = [RUNS_OF_TRAINING.get(word, word) for word in rest]
    if "--help" in rest:
        carry_out(module, rest)
        return
    whole = [word for word in rest if word != "..."]
    given = parsed(module, [*whole, *_left_out(module, rest)], monkeypatch)
    if module in CONFIGS:
        load_config(CONFIGS[module], given.config, given.overrides)
    if module == "eval.run" and not given.include_path:
        assert registry.expand(given.tasks.split(","))
    if module == "eval.export":
        assert given.to in FORMATS
    if "..." in rest:
        return
    rest = [str(TRAINED) if word in runs_shown() and not Path(word).exists() else word for word in rest]
    if module in READ_ONLY and not {"--serve", "--from"} & set(rest):
        carry_out(module, rest)
    if module == "eval.export" and given.to in FORMATS_OF_ANY_TASK and "--check" not in rest:
        carry_out(module, rest)
    if module == "eval.run" and (given.model, given.tasks) == ("rlfr=runs/my_run/final", "rlfr_quickstart"):
        carry_out(module, [*rest, *SHORT])
    if module == "rlfr_mm.train" and given.config in files_shown():
        elsewhere = [] if given.resume else ["train.output_dir=runs/elsewhere"]
        model = f"model.name_or_path={os.environ['TINY_POLICY']}"
        carry_out(module, [*rest, model, *ON_CPU, *elsewhere, *([] if given.check else ["--check"])])


def _left_out(module: str, given: list[str]) -> list[str]:
    """The required options that a page leaves out where it writes `...`."""
    if "..." not in given:
        return []
    required = {"eval.run": {"--model": "rlfr=runs/my_run/final", "--tasks": "rlfr_quickstart", "--output_dir": "out"}}
    required["eval.export"] = {"--to": "csv", "--out": "out"}
    return [word for name, value in required.get(module, {}).items() if name not in given for word in (name, value)]


def carry_out(module: str, arguments: list[str]) -> None:
    try:
        status = command_of(module)(arguments)
    except SystemExit as end:
        status = end.code
    assert not status, (module, arguments)


def accelerate(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments[0] == "merge-weights":
        merge_command_parser().parse_args(arguments[1:])
        return
    assert arguments[0] == "launch"
    given = launch_command_parser().parse_args(arguments[1:])
    assert given.module and (given.config_file is None or Path(given.config_file).is_file())
    python(["-m", given.training_script, *given.training_script_args], monkeypatch)


def lmms_eval(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = [argument for argument in arguments if argument != "..."]
    monkeypatch.setattr(sys, "argv", ["lmms-eval", *given])
    _, options = parse_eval_args()
    known = [name for name in (options.tasks or "").split(",") if name and name != "rlfr_my_benchmark"]
    assert registry.expand(known) or not known


def trl(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments[0] == "vllm-serve"
    vllm_parser().parse_args_and_config(arguments[1:])


def make(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)


def pip(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert arguments[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for text in re.findall(r"\[(.+?)\]", " ".join(arguments)) for name in text.split(",")} <= set(extras)


def pytest_(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(Path(argument).exists() for argument in arguments if not argument.startswith("-"))


PROGRAMS = {
    "python": python, "accelerate": accelerate, "lmms-eval": lmms_eval, "trl": trl, "make": make, "pip": pip,
    "pytest": pytest_,
}  # fmt: skip
BLOCKS = list(_blocks())


# ------------------------------------------------------------------------------------------------------ the workplace


@pytest.fixture(scope="module")
def workplace(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the pages talk about: problems, the files that they show, a trained LoRA policy, an evaluation.

    The run is that of docs/own_data.md, its YAML as it stands there, on the untrained tiny policy.
    """
    folder = tmp_path_factory.mktemp("documented")
    for name in ("configs", "tasks", "benchmarks", "tests", "pyproject.toml", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    for name, text in files_shown().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "fig").mkdir()
    row = json.loads(next(block.text for block in BLOCKS if block.kind == "rows" and "own_data" in block.place))
    for name, numbers in {"problems": range(1, 17), "held_out": range(17, 20)}.items():
        for i in numbers:
            picture = Image.new("RGB", (120, 90), "white")
            ImageDraw.Draw(picture).rectangle((20, 20, 30 + 4 * i, 70), fill="red")
            picture.save(folder / "fig" / f"{i}.png")
        rows = [row | {"images": [f"fig/{i}.png"], "answer": str(i)} for i in numbers]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown = next(block.text for block in BLOCKS if block.kind == "yaml" and "own_data" in block.place)
    (folder / "my_run.yaml").write_text(shown)
    (folder / "text.jsonl").write_text(json.dumps({"problem": "How many legs have two cats?", "answer": "8"}))
    (folder / "text.yaml").write_text("data: {source: text.jsonl}\nflow: {random_start: true}\n")
    text_policy(folder / "text_policy")
    before = Path.cwd()
    os.chdir(folder)
    os.environ["TINY_POLICY"] = str(tiny_policy)
    model = f"model.name_or_path={tiny_policy}"
    importlib.import_module("rlfr_mm.train").main(["--config", "my_run.yaml", model, *ON_CPU])
    shutil.copytree("runs/my_run", "runs/quickstart")
    evaluation = ["--model", "rlfr=runs/my_run/final", "--tasks", "rlfr_quickstart", "--output_dir", "runs/eval"]
    importlib.import_module("rlfr_mm.eval.run").main([*evaluation, *SHORT])
    shutil.copytree("runs/eval", "runs/eval_again")
    yield folder
    os.chdir(before)


def text_policy(folder: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=len(tokenizer), **sizes)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)


def test_a_yaml_of_fifteen_lines_trains_a_lora_policy_with_its_page_and_card(workplace: Path):
    assert len([line for line in Path("my_run.yaml").read_text().splitlines() if line[0] != "#"]) <= 15
    records = list(read_rollouts(Path("runs/my_run")))
    assert {record.step for record in records} == {1, 2}
    assert all("Find $x$." in record.prompt and record.images and any(record.deviation) for record in records)
    assert Path("runs/my_run/final/adapter_model.safetensors").is_file()
    assert Path("runs/my_run/final/flow/flow.safetensors").is_file()
    adapter = load_file("runs/my_run/final/adapter_model.safetensors")
    assert any(weight.any() for name, weight in adapter.items() if "lora_B" in name)
    assert not any("visual" in name for name in adapter)
    assert "lora" in ModelCard.load(Path("runs/my_run/final/README.md")).data.tags
    importlib.import_module("rlfr_mm.inspect").main(["runs/my_run"])
    assert "Find $x$." in Path("runs/my_run/inspect.html").read_text()


# ---------------------------------------------------------------------------------------------------------- the blocks


def test_no_block_of_text_is_a_command():
    assert not [block.place for block in BLOCKS if block.kind == "text" and re.search(r"^\s*python ", block.text, re.M)]
    assert {block.kind for block in BLOCKS} <= {*LANGUAGES.values(), "text"}


def of_kind(kind: str) -> Any:
    found = [block for block in BLOCKS if block.kind == kind]
    return pytest.mark.parametrize("block", found, ids=[block.place for block in found])


@of_kind("rows")
def test_rows_are_json(block: Block):
    assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())


@of_kind("python")
def test_python_runs(block: Block, workplace: Path):
    exec(compile(block.text, block.place, "exec"), {"__name__": "documented"})


@of_kind("yaml")
def test_yaml_configures_a_run(block: Block, workplace: Path, tiny_policy: Path, capsys: pytest.CaptureFixture):
    values = yaml.safe_load(block.text)
    file = workplace / "block.yaml"
    if "methods" in values:
        file.write_text(block.text)
        load_config(ExperimentConfig, file)
        return
    if set(values) <= {entry.name for entry in fields(DataArguments)}:
        build(DataArguments, values, "data")  # a part of that section, on the page about data
        return
    whole = "source" in values.get("data", {})
    file.write_text(block.text if whole else f"{block.text}base: text.yaml\n")
    config = load_config(RunConfig, file)
    if ("data" in values and not Path(config.data.source).exists()) or set(values.get("data", {})) - {"source"}:
        return  # it tells how data look that are not here
    if config.benchmarks:
        assert registry.expand(config.benchmarks.eval_tasks)  # their data are on the hub
        return
    model = f"model.name_or_path={tiny_policy if whole else 'text_policy'}"
    carry_out("rlfr_mm.train", ["--config", str(file), model, "train.output_dir=runs/of_a_block", "--check"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("ready")


@of_kind("shell")
def test_shell_commands_are_understood(
    block: Block, workplace: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    found = list(commands(block.text, str(tiny_policy)))
    assert found
    for program, *arguments in found:
        if program not in OF_THE_SHELL:
            assert program in PROGRAMS, f"{block.place}: how is {program} tested?"
            PROGRAMS[program](arguments, monkeypatch)


def commands(text: str, policy: str) -> Iterator[list[str]]:
    """The commands of a shell block as words, with what stands for the placeholders, without what bash alone reads."""
    text = re.sub(r" \[RUN[^\]]*\]", "", text)  # arguments that may be left out
    for pattern, value in PLACEHOLDERS.items():
        text = re.sub(pattern, value.format(policy=policy), text)
    text = re.sub(r"\[(--[^\]]+)\]", r"\1", text.replace("\\\n", " "))  # options that may be left out
    for line in text.splitlines():
        words: list[str] = []
        reader = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        reader.whitespace_split = True
        for word in [*reader, ";"]:
            if set(word) <= set(";&|"):
                while words and re.fullmatch(r"\w+=.*", words[0]):  # a variable of the command
                    words.pop(0)
                if words:
                    yield [word for word in words if not word.startswith("$")]
                words = []
            else:
                words.append(word)
