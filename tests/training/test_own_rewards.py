"""Reward functions of the user's: found beside the configuration, checked early, named in all that a run writes."""

import asyncio
import json
import re
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlfr_mm import train
from rlfr_mm.config import DataArguments, FlowConfig, RLFRConfig, RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.data.load import load_problems
from rlfr_mm.method.field import FlowField
from rlfr_mm.training.own_rewards import RewardError, check_signatures, load_rewards
from rlfr_mm.training.run_folder import RunFolder
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.conftest import ROOT
from tests.tiny_trainer import CPU

COLUMNS = ["prompt", "images", "solution", "choices", "problem_id", "expert"]
GOOD = """
    import asyncio

    def brief(completions, **kwargs):
        return [1.0 if len(c[0]["content"]) < 20 else 0.0 for c in completions]

    async def judged(prompts, completions, completion_ids, trainer_state, solution, **kwargs):
        await asyncio.sleep(0)
        return [None if place % 2 else trainer_state.global_step for place, _ in enumerate(completions)]

    class Judge:
        def __call__(self, completions, **kwargs):
            return (0 for _ in completions)

        async def later(self, completions, **kwargs):
            return [True for _ in completions]

    judge = Judge()
    """


def _awaited(coroutine: Any) -> Any:
    """Its result, from a thread of its own, because Playwright's tests leave an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Writes a module with a name of its own into a folder, and returns both."""

    def write(source: str) -> tuple[Path, str]:
        name = f"rewards_of_{abs(hash((request.node.name, source)))}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return tmp_path, name

    return write


def _loaded(rewards: Any, beside: Path | None = None, **train: Any) -> list:
    return load_rewards(build(RunConfig, {"rewards": rewards, "train": train}), beside)


def test_the_default_is_accuracy_and_half_the_format():
    assert [(reward.name, reward.weight) for reward in _loaded(None)] == [("accuracy", 1.0), ("format", 0.5)]
    assert [reward.name for reward in _loaded(None, format_reward_weight=0.0)] == ["accuracy"]


def test_functions_are_found_beside_the_configuration_or_on_the_path(folder: Any):
    beside, module = folder(GOOD)
    entries = ["accuracy", {"function": f"{module}:brief", "weight": -0.5}, "math:fsum", {"function": "format"}]
    rewards = _loaded(entries, beside)
    assert [reward.name for reward in rewards] == ["accuracy", "brief", "fsum", "format"]
    assert [reward.weight for reward in rewards] == [1.0, -0.5, 1.0, 1.0]
    assert rewards[1].call(completions=[[{"content": "short"}], [{"content": "long" * 9}]]) == [1.0, 0.0]
    assert _loaded(entries)[1].call.__wrapped__ is rewards[1].call.__wrapped__  # found again without the folder


def test_asynchronous_functions_and_methods_of_objects_are_rewards(folder: Any):
    beside, module = folder(GOOD)
    judged, judge, later = _loaded([f"{module}:judged", f"{module}:judge", f"{module}:judge.later"], beside)
    state = type("State", (), {"global_step": 3})
    arguments = {"prompts": ["?"] * 2, "completions": ["a", "b"], "completion_ids": [[1], [2]], "trainer_state": state}
    assert _awaited(judged.call(**arguments, solution=["", ""])) == [3.0, None]
    assert judge.call(**arguments) == [0.0, 0.0] and _awaited(later.call(**arguments)) == [1.0, 1.0]
    assert later.name == "later"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("brief", r"rewards\[0\]=brief must be accuracy, format, or MODULE:FUNCTION"),
        (3, r"rewards\[0\]=3 must be a name, or \{function: NAME, weight: NUMBER\}"),
        ({"function": "accuracy", "wieght": 1}, r"unknown key rewards\[0\].wieght; did you mean rewards\[0\].weight"),
        ({"function": "accuracy", "weight": "much"}, r"rewards\[0\].weight='much'"),
        ({"function": "accuracy", "weight": float("inf")}, r"rewards\[0\].weight=inf must be a finite number"),
        ("no_such_module:f", "there is no module no_such_module in .* and on Python's path"),
        ("no.such.module:f", "there is no module no.such.module"),
        ("math:fsun", r"reward math:fsun: math has no fsun; did you mean fsum\?"),
        ("math:pi", "reward math:pi is not a function, but 3.14"),
        ("collections:Counter", "reward collections:Counter is not a function, but <class"),
    ],
)
def test_an_entry_that_names_no_function_is_refused_in_one_line(entry: Any, message: str):
    with pytest.raises(ValueError, match=message) as error:
        _loaded([entry])
    assert "\n" not in str(error.value)


def test_lists_that_cannot_be_meant_are_refused():
    for rewards, train_settings, message in (
        ([], {}, "at least one reward function"),
        (["accuracy", {"function": "accuracy"}], {}, "the name accuracy must be that of one function only"),
        (["accuracy"], {"format_reward_weight": 0.5}, "train.format_reward_weight has no effect with rewards"),
    ):
        with pytest.raises(ValueError, match=message):
            _loaded(rewards, **train_settings)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", "imports no_such_package, which is not installed"),
        ("x = 1 / 0", r"cannot be imported: ZeroDivisionError: division by zero \(.*rewards_of_\d+.py, line 1\)"),
        ("import sys; sys.exit(3)", r"cannot be imported: SystemExit: 3 \(.*rewards_of_\d+.py, line 1\)"),
        ("def f(:", r"cannot be imported: SyntaxError: .*rewards_of_\d+.py, line 1"),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(source: str, message: str, folder: Any):
    beside, module = folder(source)
    with pytest.raises(RewardError, match=message):
        _loaded([f"{module}:f"], beside)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("completions", "got an unexpected keyword argument 'prompts'"),
        ("completions, difficulty, **kwargs", "missing a required argument: 'difficulty'"),
        ("completions, /, **kwargs", "'completions' parameter is positional only"),
    ],
)
def test_a_function_that_trl_could_not_call_is_refused(signature: str, message: str, folder: Any):
    beside, module = folder(f"def f({signature}):\n    return [0.0] * len(completions)\n")
    rewards = _loaded(["accuracy", "format", f"{module}:f"], beside)
    with pytest.raises(RewardError, match=rf":f: ({message}).*it is called with prompts, .*solution.*\*\*kwargs"):
        check_signatures(rewards, COLUMNS)
    check_signatures(rewards[:2], COLUMNS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1.0", "must return a list of a number or None per completion, not 1.0"),
        ("return None", "must return a list of a number or None per completion, not None"),
        ("return {'a': 1}", "must return a list"),
        ("return 'ab'", "must return a list"),
        ("return [1.0]", "returned 1 rewards for 2 completions"),
        ("return [1.0, 'high']", "returned 'high', which is neither a finite number nor None"),
        ("return [1.0, [1.0]]", r"returned \[1.0\], which is neither a finite number nor None"),
        ("return [1.0, float('inf')]", "returned inf, which is neither a finite number nor None"),
        ("raise KeyError('x')", r"raised KeyError: 'x' \(.*rewards_of_\d+.py, line 2\)"),
        ("import json; return json.loads('')", r"raised JSONDecodeError: .*rewards_of_\d+.py, line 2\)"),
    ],
)
def test_what_a_function_gets_wrong_is_one_line_that_names_it(body: str, message: str, folder: Any):
    for kind in ("def", "async def"):
        beside, module = folder(f"{kind} f(completions, **kwargs):\n    {body}\n")
        (reward,) = _loaded([f"{module}:f"], beside)
        with pytest.raises(RewardError, match=f"reward {module}:f {message}") as error:
            result = reward.call(completions=["a", "b"])
            _awaited(result) if kind == "async def" else None
        assert "\n" not in str(error.value)


@pytest.fixture
def run_file(tiny_policy: Path, tmp_path: Path) -> Path:
    data = [{"problem": f"{number} + 1?", "answer": str(number + 1)} for number in range(4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    values = {
        "model": {"name_or_path": str(tiny_policy)},
        "data": {"source": str(tmp_path / "problems.jsonl"), "instruction": "none"},
        "flow": {"num_blocks": 1, "random_start": True},
        "train": CPU
        | {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 4,
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "run.yaml"


def test_a_run_with_own_rewards_names_them_in_all_that_it_writes(run_file: Path, folder: Any):
    _, module = folder(GOOD)
    rewards = f"[accuracy, {{function: {module}:brief, weight: 0.25}}, {module}:judged]"
    train.main(["--config", str(run_file), f"rewards={rewards}"])
    run = RunFolder(run_file.parent / "run")
    first, second = run.metrics()
    assert {f"rewards/{name}/mean" for name in ("accuracy", "brief", "judged")} <= first.keys()
    assert (first["rewards/judged/mean"], second["rewards/judged/mean"]) == (0.0, 1.0)
    for record in read_rollouts(run.path):
        assert list(record.rewards) == ["accuracy", "brief", "judged"]
        assert record.rewards["judged"] == (None if record.sample else record.step - 1)
    assert run.summary["rewards"] == {"accuracy": 1.0, "brief": 0.25, "judged": 1.0}
    card = (run.path / "final" / "README.md").read_text()
    assert "`accuracy` (weight 1), `brief` (weight 0.25), `judged` (weight 1)" in card


def test_a_function_that_fails_is_found_before_the_weights_are_loaded(
    run_file: Path, folder: Any, capsys: pytest.CaptureFixture
):
    source = "def f(completions, **kwargs):\n    return [c[0]['content'].index('#') for c in completions]\n"
    _, module = folder(source)
    for extra in ([], ["--check"]):
        with pytest.raises(SystemExit) as stopped:
            train.main(["--config", str(run_file), f"rewards=[{module}:f]", *extra])
        error = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2 and error.startswith(f"error: reward {module}:f raised ValueError: substring")
    assert not (run_file.parent / "run").exists()


def test_a_function_that_fails_in_a_later_step_ends_the_run_in_one_line(
    run_file: Path, folder: Any, capsys: pytest.CaptureFixture
):
    _, module = folder(
        "async def f(completions, trainer_state, **kwargs):\n"
        "    return [1.0] * (len(completions) - trainer_state.global_step)\n"
    )
    with pytest.raises(SystemExit) as stopped:
        train.main(["--config", str(run_file), f"rewards=[{module}:f]"])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert f"error: reward {module}:f returned 3 rewards for 4 completions; the same command with --resume" in told


def test_the_page_on_rewards_is_true(run_file: Path, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch):
    """Its YAML and its functions train, and its script makes a trainer."""
    page = (ROOT / "docs" / "rewards.md").read_text()
    (config,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    functions, script = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (run_file.parent / "my_rewards.py").write_text(functions)
    rewards = [*yaml.safe_load(config)["rewards"], "my_rewards:judged"]
    settings = yaml.safe_load(run_file.read_text()) | {"rewards": rewards}
    run_file.write_text(yaml.safe_dump(settings))
    train.main(["--config", str(run_file)])
    (record, *_) = read_rollouts(run_file.parent / "run")
    assert record.rewards.keys() == {"accuracy", "brief", "judged"} and record.rewards["judged"] is None
    assert record.rewards["brief"] == 1.0  # four tokens

    monkeypatch.setattr("rlfr_mm.config.RLFRConfig", partial(RLFRConfig, use_cpu=True, bf16=False))
    monkeypatch.chdir(run_file.parent)  # the script's trainer makes its output folder
    names: dict[str, Any] = {}
    exec(script, names)
    policy = AutoModelForImageTextToText.from_pretrained(tiny_policy)
    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    made = names["trainer"](policy, processor, FlowField.for_policy(FlowConfig(num_blocks=1), policy.config))
    assert made.reward_func_names == ["right"] and made.flow is not None


def test_rewards_get_further_columns_of_the_records(run_file: Path, folder: Any):
    _, module = folder("def f(completions, level, **kwargs):\n    return [float(each) for each in level]\n")
    file = run_file.parent / "problems.jsonl"
    rows = [json.loads(line) | {"level": place % 2} for place, line in enumerate(file.read_text().splitlines())]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train.main(["--config", str(run_file), f"rewards=[accuracy, {module}:f]", "data.keep=[level]", "train.max_steps=1"])
    levels = {row["problem"]: row["level"] for row in rows}
    for record in read_rollouts(run_file.parent / "run"):
        assert record.rewards["f"] == levels[record.prompt]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("lvel", "data.keep=lvel must be another column of .*problems.jsonl: answer, level, problem"),
        ("solution", "data.keep=solution must be another column"),
        ("level", "data.keep=level: its values in .*problems.jsonl are of different types"),
    ],
)
def test_further_columns_that_cannot_be_kept_are_named(keep: str, message: str, tmp_path: Path):
    source = tmp_path / "problems.jsonl"
    rows = [{"problem": f"{level} + 1?", "answer": "2", "level": level} for level in (1, "two")]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=message):
        load_problems(DataArguments(str(source), keep=[keep]))
