"""Results follow from the rows alone: grading again and aggregating."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rlfr_mm.eval import score
from rlfr_mm.eval.engine import importing, reporting, run_files, scoring
from rlfr_mm.eval.engine.plan import changed_data
from rlfr_mm.eval.formats import Response
from rlfr_mm.eval.run import main as run_main
from rlfr_mm.grading.verdict import Verdict
from rlfr_mm.statistics import wilson_interval
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.aggregate import pass_at_k
from tests.eval.commands import exit_status
from tests.eval.export_runs import wemath_record

GSM8K = registry.task("rlfr_gsm8k")


def imported(tmp_path, answers, spec=GSM8K, name="run"):
    """A run folder of responses to problems of our own: one list of responses for each."""
    responses = [
        Response(text, {"question": f"What is {i} + {i}?", "answer": f"Adding up. #### {2 * i}"}, i, sample)
        for i, texts in enumerate(answers)
        for sample, text in enumerate(texts)
    ]
    importing.import_responses(responses, spec, "test", "model", tmp_path / name, None)
    return tmp_path / name


def test_imported_responses_are_graded_and_marked_as_a_slice(tmp_path):
    run = imported(tmp_path, [["The answer is 0."], ["The answer is 2."], ["The answer is 5."], ["I do not know."]])
    [result], complaints = scoring.score_run(run)
    assert complaints == [] and result.partial and result.problems == 4
    assert result.counts == {"correct": 2, "wrong": 1, "no_answer": 1, "timeout": 0, "error": 0}
    assert result.score == 0.5 and run_files.read_results(run) == [result]
    assert run_files.read_manifest(run).source == "import:test"


def test_pass_at_k_and_its_interval_come_from_all_samples(tmp_path):
    right = [3, 0, 1, 2]  # of four samples each
    answers = [[f"#### {2 * i}"] * n + ["#### 99"] * (4 - n) for i, n in enumerate(right)]
    [result], _ = scoring.score_run(imported(tmp_path, answers))
    for k in range(1, 5):
        expected = sum(pass_at_k(4, n, k) for n in right) / 4
        assert result.metrics[f"pass@{k}"] == pytest.approx(expected)


def test_grading_again_restores_verdicts_and_names_what_changed(tmp_path, capsys):
    run = imported(tmp_path, [["The answer is 0."], ["The answer is 3."]])
    path = run / GSM8K.name / run_files.SAMPLES
    rows = run_files.read_rows(path)[0]
    forged = Verdict("correct", 1.0, "3", "forged")
    run_files.write_rows(path, [rows[0], rows[1].model_copy(update={"verdict": forged})])
    assert score.main([str(run)]) == 0
    assert "1 verdicts changed" in (said := capsys.readouterr().out)
    assert f"{rows[1].problem_id}#0 strict: correct -> wrong" in said
    assert run_files.read_rows(path)[0] == rows
    assert run_files.read_results(run)[0].score == 0.5


def test_a_run_of_an_older_scorer_goes_on_after_grading_again(finished, arguments, tmp_path, capsys):
    """New verdicts beside old ones would be two measurements in one score."""
    run = shutil.copytree(finished[0], tmp_path / "run")
    manifest = run_files.read_manifest(run)
    for plan in manifest.tasks.values():
        plan.scorer_version = "0"
    run_files.write_manifest(run, manifest)
    assert exit_status(run_main, arguments(run)) == 2
    assert "scorer_version was 0" in (said := capsys.readouterr().err) and "eval.score" in said
    assert score.main([str(run)]) == 0
    assert run_main(arguments(run)) == 0


def test_averages_of_a_group_appear_when_its_tasks_are_whole(tmp_path):
    spec = registry.task("rlfr_logicvista")
    answers = [
        Response(
            "<answer>A</answer>",
            {"id": str(i), "answer": "A" if i < 112 else "B", "skill": ["inductive"], "broad_capability": []},
        )
        for i in range(spec.rows)
    ]
    importing.import_responses(answers, spec, "test", "model", tmp_path / "logic", None)
    [logic], _ = scoring.score_run(tmp_path / "logic")
    both = [logic, logic.model_copy(update={"task": "rlfr_visulogic", "metrics": logic.metrics | {"accuracy": 0.75}})]
    assert not logic.partial and logic.score == 0.25
    assert "Logic Avg" not in scoring.result_table([logic])
    line = next(line for line in scoring.result_table(both).splitlines() if line.startswith("Logic Avg"))
    assert line.split()[-1] == "50.0"


def test_the_official_rule_can_be_asked_for(tmp_path):
    run = imported(tmp_path, [["The answer is 0."]])
    assert score.main([str(run), "--rule", "official"]) == 0
    assert run_files.read_results(run)[0].rule == "official"


@pytest.mark.parametrize("where", ["manifest", "row"])
def test_an_unknown_scorer_is_one_line(tmp_path, capsys, where):
    run = imported(tmp_path, [["The answer is 0."]])
    if where == "manifest":
        manifest = run_files.read_manifest(run)
        manifest.tasks[GSM8K.name].scorer = "nonsense"
        run_files.write_manifest(run, manifest)
    else:
        path = run / GSM8K.name / run_files.SAMPLES
        (row,), _ = run_files.read_rows(path)
        run_files.write_rows(path, [row.model_copy(update={"scorer": "nonsense"})])
    assert exit_status(score.main, [str(run)]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and "\n" not in message
    assert f"{GSM8K.name} asks for the scorer 'nonsense', which does not exist" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": "rlfr_math500"}, "a row of the task rlfr_math500, in the folder of rlfr_gsm8k"),
        ({"doc_hash": "0" * 16}, "is not 0000000000000000: the row was edited"),
        ({"doc": {"question": "Easy?", "answer": "#### 2"}}, "the row was edited"),
    ],
)
def test_an_edited_row_is_named_and_not_scored(tmp_path, capsys, changes, named):
    run = imported(tmp_path, [["The answer is 0."], ["The answer is 2."]])
    path = run / GSM8K.name / run_files.SAMPLES
    rows = run_files.read_rows(path)[0]
    run_files.write_rows(path, [rows[0], rows[1].model_copy(update=changes)])
    assert score.main([str(run)]) == 1
    said = capsys.readouterr()
    assert f"{path}, line 2 cannot be used" in said.err and named in said.err
    assert f"{GSM8K.name}: 1 of 2 responses are missing" in said.err
    assert run_files.read_results(run)[0].problems == 1


def test_a_task_that_would_leave_the_run_folder_is_refused(tmp_path, capsys):
    run = imported(tmp_path, [["The answer is 0."]])
    path = run / run_files.MANIFEST
    path.write_text(path.read_text().replace(f'"{GSM8K.name}": ', '"../outside": '))
    assert exit_status(score.main, [str(run)]) == 2
    assert "'../outside' is not the name of a task" in capsys.readouterr().err


def test_samples_that_are_all_identical_are_said_to_be(tmp_path, capsys):
    run = imported(tmp_path, [["The answer is 0."] * 3, ["The answer is 2.", "#### 2", "#### 2"], ["9", "9", "9"]])
    assert score.main([str(run)]) == 0
    assert f"note: {GSM8K.name}: all samples are identical for 2 of 3 problems" in capsys.readouterr().out
    assert run_files.read_results(run)[0].identical_samples == 2
    assert "all samples are identical for 2 of 3 problems" in reporting.report_page(reporting.read_runs([run]))[0]
    single = imported(tmp_path, [["The answer is 0."], ["The answer is 0."]], name="single")
    assert score.main([str(single)]) == 0
    assert "identical" not in capsys.readouterr().out


def test_an_item_that_cannot_be_graded_costs_itself_alone(tmp_path):
    """An unknown scorer is a bug of the registry: its row says `error`, the others have their verdicts."""
    row = run_files.read_rows(imported(tmp_path, [["The answer is 0."]]) / GSM8K.name / run_files.SAMPLES)[0][0]
    fields = row.model_dump(exclude={"verdict", "verdict_official"})
    good, broken, again = scoring.graded_rows([fields, fields | {"scorer": "nonsense"}, fields])
    assert good.verdict == again.verdict == row.verdict and good.verdict.correct
    assert broken.verdict.unscored and "nonsense" in broken.verdict.detail


def test_an_aggregation_that_fails_costs_its_own_task_alone(finished, tmp_path, capsys):
    run = shutil.copytree(finished[0], tmp_path / "run")
    manifest = run_files.read_manifest(run)
    plans = manifest.tasks | {"rlfr_gone": next(iter(manifest.tasks.values()))}
    run_files.write_manifest(run, manifest.model_copy(update={"tasks": plans}))
    assert score.main([str(run)]) == 1
    assert "incomplete: rlfr_gone: cannot be aggregated" in capsys.readouterr().err
    assert {result.task for result in run_files.read_results(run)} == manifest.tasks.keys()


@pytest.mark.parametrize("results", ["kept", "5", "[{}]", None])
def test_a_task_that_is_not_registered_keeps_its_score(tmp_path, capsys, results):
    """A benchmark of one's own that only `eval.run --include_path` knew. A broken results.json has nothing to keep."""
    mine = replace(GSM8K, name="rlfr_mine")
    registry.TASKS[mine.name] = mine
    try:
        run = imported(tmp_path, [["The answer is 0."], ["The answer is 3."]], mine)
        assert score.main([str(run)]) == 0
    finally:
        del registry.TASKS[mine.name]
    before = (run / run_files.RESULTS).read_text()
    if results is None:
        (run / run_files.RESULTS).unlink()
    elif results != "kept":
        (run / run_files.RESULTS).write_text(results)
    assert score.main([str(run)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("incomplete: rlfr_mine: cannot be aggregated: unknown task 'rlfr_mine'")
    assert message.endswith("; results.json keeps its earlier score") == (results == "kept")
    assert (run / run_files.RESULTS).read_text() == (before if results == "kept" else "[]\n")


def test_a_score_that_is_no_mean_has_an_interval_too(shared, tmp_path):
    """We-Math's headline is built from groups of problems: its error comes from leaving groups out."""
    spec = registry.task("rlfr_wemath_testmini")
    docs = registry.load(spec, shared / "hub").remove_columns("image_path")
    responses = [Response(f"<answer>{'A' if i % 3 else doc['answer']}</answer>", doc) for i, doc in enumerate(docs)]
    importing.import_responses(responses, spec, "test", "model", tmp_path / "run", None)
    [result], complaints = scoring.score_run(tmp_path / "run")
    assert complaints == [] and result.headline == "loose" and result.standard_error > 0
    assert 0 <= result.interval.low < result.score < result.interval.high <= 1


def wemath(tmp_path, complete, broken):
    """The result of groups of a composite and two steps, all right, and of groups that lack their composite."""
    spec = registry.task("rlfr_wemath_testmini")
    keys = ["2steps_1", "2steps_2", "2steps_multi"]
    groups = [(f"2steps_{i}", keys if i < complete else keys[:2]) for i in range(complete + broken)]
    responses = [
        Response("<answer>A</answer>", wemath_record(group, key, "A")) for group, found in groups for key in found
    ]
    importing.import_responses(responses, spec, "test", "model", tmp_path / "run", None)
    [result], complaints = scoring.score_run(tmp_path / "run")
    assert complaints == []
    return result


@pytest.mark.parametrize(("complete", "broken"), [(2, 0), (2, 1), (2, 60), (60, 2)])
def test_groups_that_define_no_score_are_no_evidence_for_it(tmp_path, complete, broken):
    """All groups are right: the interval is Wilson's for the complete ones, whatever lies beside them."""
    result = wemath(tmp_path, complete, broken)
    assert (result.headline, result.score, result.metrics["groups"]) == ("loose", 1.0, complete)
    assert result.interval == wilson_interval(1.0, 0.0, complete)


def test_one_complete_group_has_a_score_and_no_interval(tmp_path):
    """Leaving it out would leave nothing that defines the score."""
    result = wemath(tmp_path, 1, 3)
    assert (result.headline, result.score, result.standard_error, result.interval) == ("loose", 1.0, None, None)


def test_without_a_complete_group_the_accuracy_stands_for_the_task(tmp_path):
    result = wemath(tmp_path, 0, 3)
    assert result.headline == "accuracy" and result.interval == wilson_interval(1.0, 0.0, 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "not a run folder"),
        (["--from", "xml", "f", "--task", "rlfr_gsm8k", "--output_dir", "{tmp}/x"], "no such format to read"),
        (
            ["--from", "jsonl", "nowhere", "--task", "rlfr_gsm8k", "--output_dir", "{tmp}/x"],
            "nowhere: there is no such file",
        ),
        (["--from", "jsonl", "f", "--task", "rlfr_gsm9k", "--output_dir", "{tmp}/x"], "did you mean rlfr_gsm8k"),
    ],
)
def test_unusable_input_is_one_line(tmp_path, capsys, arguments, named):
    assert exit_status(score.main, [part.replace("{tmp}", str(tmp_path)) for part in arguments]) == 2
    assert not Path("nowhere").exists()
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and named in message and "\n" not in message


def test_changed_data_is_told_by_count_and_by_hash():
    spec = registry.task("rlfr_math500")
    assert changed_data(spec, spec.rows, spec.data_hash) == ""
    assert "499 records where the registry expects 500" in changed_data(spec, 499, "other")
    assert "hash other" in changed_data(spec, 500, "other")


def test_options_of_an_import_are_refused_when_a_run_is_graded_again(tmp_path, capsys):
    assert exit_status(score.main, [str(tmp_path), "--task", "rlfr_gsm8k"]) == 2
    assert "--task goes with --from only" in capsys.readouterr().err
