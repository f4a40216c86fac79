"""Whatever stands in a file or on a command line, the error is one line that a user can act on."""

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from rlfr_mm.config import RunConfig, train_settings
from rlfr_mm.config_file import build, describe, load_config, with_overrides
from rlfr_mm.data.readers import FORMATS, read_row
from rlfr_mm.files import BadFile, damage, read_json, read_json_lines, seal
from rlfr_mm.grading.strict.boxes import final_box, last_boxed
from rlfr_mm.grading.strict.extract import last_answer_tag, last_conclusion
from rlfr_mm.secrets import hide_secrets, without_secrets
from rlfr_mm.training.run_folder import RunFolder
from tests.faults.fuzzing import JSON, TEXT, fuzz, one_line, scratch

PIECES = st.sampled_from(
    [
        "\\boxed{",
        "}",
        "<answer>",
        "</answer>",
        "\\[",
        "$",
        "\n",
        "####",
        "answer is",
        "12",
        "\\frac",
        "{",
        "<image>",
        "\0",
    ]
)
RESPONSE = st.lists(PIECES | TEXT, max_size=12).map("".join)
COLUMNS = sorted({name for known in FORMATS.values() for name in (*known.problem, *known.answer, *known.images)})
ROW = st.dictionaries(st.sampled_from([*COLUMNS, "id", "options", "choices"]), JSON, max_size=5)
SETTINGS = [found[1] for line in describe(RunConfig) if (found := re.match(r"  (\S+) \(", line))]
SETTINGS += [f"train.{name}" for name in train_settings() or {}]
VALUES = st.sampled_from(["null", "[]", "{}", "-1", "0", ".nan", "-.inf", "1e999", "[1, a]", "a: 1", "!!python/name:x"])
SECTIONS = st.sampled_from(["model", "data", "flow", "flow_reward", "update", "offline", "train", "field", "a", ""])


@fuzz
@given(st.dictionaries(SECTIONS, JSON, max_size=3))
@example({"train": None})
@example({"model": {"\n": None}})
def test_any_mapping_is_a_configuration_or_a_value_error(values: dict[str, Any]):
    try:
        build(RunConfig, values)
    except ValueError as error:
        one_line(error)


@fuzz
@given(st.lists(st.builds("{}.{}={}".format, SECTIONS, TEXT, TEXT) | TEXT, max_size=3))
def test_any_override_is_applied_or_a_value_error(overrides: list[str]):
    try:
        build(RunConfig, with_overrides({}, overrides))
    except ValueError as error:
        one_line(error)


@fuzz
@given(st.lists(st.builds("{}={}".format, st.sampled_from(SETTINGS), VALUES | TEXT | JSON.map(json.dumps)), max_size=3))
def test_any_value_of_any_setting_is_taken_or_a_value_error(overrides: list[str]):
    try:
        build(RunConfig, with_overrides({}, overrides))
    except ValueError as error:
        one_line(error)


@fuzz
@given(st.binary(max_size=60))
def test_any_bytes_are_a_configuration_file_or_a_value_error(data: bytes):
    path = scratch() / "fuzzed.yaml"
    path.write_bytes(data)
    try:
        load_config(RunConfig, path)
    except ValueError as error:
        assert "\n" not in str(error)


@fuzz
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_run_folder_or_named(data: bytes):
    folder = scratch() / "fuzzed"
    folder.mkdir(exist_ok=True)
    for name in ("stages.json", "metrics.jsonl", "summary.json"):
        (folder / name).write_bytes(data)
    run = RunFolder(folder)
    assert all({"seconds", "result"} <= stage.keys() for stage in run.stages.values())
    assert run.is_finished in (True, False)
    run.cut_after(3)
    assert all(row["step"] <= 3 for row in run.metrics())
    for read in (read_json, read_json_lines):
        try:
            read(folder / "stages.json")
        except BadFile as error:
            assert str(folder / "stages.json") in str(error)


@fuzz
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"files": value}).encode()))
def test_any_bytes_are_a_manifest_or_damage(data: bytes):
    folder = scratch() / "sealed"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(b"weights")
    seal(folder)
    (folder / "manifest.json").write_bytes(data)
    assert damage(folder) is None or str(folder) in str(damage(folder))


@fuzz
@given(RESPONSE)
def test_any_response_is_read_without_an_error(response: str):
    for find in (last_boxed, final_box, last_answer_tag, last_conclusion):
        find(response)


@fuzz
@given(ROW, st.sampled_from(sorted(FORMATS)), st.booleans())
def test_any_row_is_read_or_a_value_error_that_names_the_record(row: dict[str, Any], name: str, expert: bool):
    try:
        read = read_row(
            row, 3, format_name=name, source="data.jsonl", folder=Path("/none"), instruction="boxed", expert=expert
        )
        assert read["prompt"] and isinstance(read["problem_id"], str)
    except ValueError as error:
        assert "record 4" in str(error)  # they count from 1


@fuzz
@given(JSON | RESPONSE)
def test_the_filter_of_secrets_takes_anything_and_changes_nothing_twice(value: Any):
    once = without_secrets(value)
    if isinstance(value, str):
        assert hide_secrets(once) == once
