"""Two methods are compared on the problems they share: difference, p, flips, and the paper's numbers beside."""

import json
from pathlib import Path

import numpy as np
import pytest

from rlfr_mm import statistics as stats
from rlfr_mm.eval import compare
from rlfr_mm.eval.engine import comparing, importing, run_files, scoring
from rlfr_mm.eval.formats import Response
from rlfr_mm.grading import Verdict
from rlfr_mm.tasks import registry
from tests.eval.commands import exit_status
from tests.eval.export_runs import wemath_record

GSM8K, MATHVERSE = registry.task("rlfr_gsm8k"), registry.task("rlfr_mathverse_testmini")


def made(folder, right, task=GSM8K, samples=1, gold=lambda i: 2 * i, first=0):
    """A run whose response to problem i is right where right[i] says so; numbers of right samples otherwise."""
    responses = [
        Response(
            f"The answer is {gold(i) if sample < int(wins) else 10_001}.",
            {"question": f"What is {i} + {i}?", "answer": f"#### {gold(i)}" if task is GSM8K else gold(i)},
            i,
            sample,
        )
        for i, wins in enumerate(right, start=first)
        for sample in range(samples)
    ]
    importing.import_responses(responses, task, "test", folder.name, folder, None)
    return str(folder)


def test_the_table_holds_difference_test_and_flips(tmp_path, capsys):
    a = np.array([1] * 30 + [0] * 30)
    b = np.array([1] * 28 + [0] * 2 + [1] * 12 + [0] * 18)
    paths = [made(tmp_path / "a", a), made(tmp_path / "b", b)]
    assert compare.main([*paths, "--json", str(tmp_path / "out.json"), "--published", "Qwen2.5-Math-7B + RLFR"]) == 0
    [found] = json.loads((tmp_path / "out.json").read_text())
    assert (found["score_a"], found["score_b"]) == (a.mean(), b.mean())
    assert found["test"]["difference"] == pytest.approx(10 / 60)
    test = stats.paired_bootstrap(a, b)  # interval and p are those of one test
    assert (found["p"], found["test"]["method"]) == (test.p, "paired bootstrap")
    assert found["test"]["interval"]["low"] == test.interval.low > 0
    assert found["p_holm"] == found["p"]
    assert found["detectable"] == stats.minimal_detectable_difference(found["test"]["standard_error"])
    assert found["test"]["freedom"] is None  # a bootstrap
    rows = run_files.read_run(tmp_path / "a")[GSM8K.name]
    ids = {row.doc_id: row.problem_id for row in rows}
    assert found["gained"] == [ids[i] for i in range(30, 42)] and found["lost"] == [ids[28], ids[29]]
    table = capsys.readouterr().out
    assert "+16.7" in table and "published: Qwen2.5-Math-7B + RLFR" in table and "not measured here" in table
    assert "only A right: 2" in table and "one run each" in table


def test_methods_of_one_name_are_told_apart(tmp_path, capsys):
    paths = [made(tmp_path / folder / "seed0", wins) for folder, wins in (("a", [1, 0, 1, 0]), ("b", [1, 1, 1, 0]))]
    assert compare.main(paths) == 0
    assert f"A = {paths[0]}, B = {paths[1]}" in capsys.readouterr().out
    assert compare.main([f"x={path}" for path in paths]) == 0
    assert f"A = x={paths[0]}, B = x={paths[1]}" in capsys.readouterr().out


def test_a_path_may_have_an_equals_sign(tmp_path, monkeypatch):
    paths = [made(tmp_path / f"lr=1e-{i}", [1, 0, 1, 0]) for i in (5, 6)]
    monkeypatch.chdir(tmp_path)
    for text, label, runs in (
        (paths[0], "lr=1e-5", 1),
        (",".join(paths), "lr=1e-5", 2),
        ("lr=1e-5,lr=1e-6", "lr=1e-5", 2),
        (f"slow={paths[1]}", "slow", 1),
        ("slow=lr=1e-6", "slow", 1),
    ):
        method = comparing.load_method(text)
        assert (method.label, len(method.runs)) == (label, runs)


def test_published_scores_stand_beside_their_task(tmp_path, capsys):
    spec = registry.task("rlfr_math500")
    fields = [
        {"problem": f"p{i}", "answer": "1", "subject": "Algebra", "level": 1, "unique_id": str(i)} for i in range(4)
    ]
    for name in ("a", "b"):
        responses = [Response("\\boxed{1}", one) for one in fields]
        importing.import_responses(responses, spec, "test", name, tmp_path / name, None)
    runs = [str(tmp_path / name) for name in ("a", "b")]
    assert compare.main([*runs, "--published", "Qwen2.5-Math-7B + RLFR"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("rlfr_math500 "))
    assert line.split()[-1] == "80.6"


def test_seeds_are_paired_by_position_and_problem(tmp_path):
    generator = np.random.default_rng(0)
    a, b = generator.random((3, 40)) < 0.4, generator.random((3, 40)) < 0.7
    methods = [
        comparing.load_method(
            f"{label}=" + ",".join(made(tmp_path / f"{label}{i}", seed) for i, seed in enumerate(runs))
        )
        for label, runs in (("old", a), ("new", b))
    ]
    [[found]] = comparing.compare(methods[0], methods[1:])
    assert found.test == stats.paired_seeds(a, b) and found.p == found.test.p
    assert (found.a, found.b, found.test.seeds) == ("old", "new", 3)


def test_several_samples_of_a_problem_are_one_unit(tmp_path):
    a, b = np.array([0, 1, 2, 3, 4, 2]), np.array([1, 1, 4, 3, 4, 4])
    methods = [comparing.load_method(made(tmp_path / name, wins, samples=4)) for name, wins in (("a", a), ("b", b))]
    [[found]] = comparing.compare(methods[0], methods[1:])
    assert found.test == stats.paired_seeds(a / 4, b / 4)
    assert found.test.method == "paired t by problem" and found.problems == 6


def test_two_equal_runs_are_no_proof_of_equality(tmp_path, capsys):
    right = [1] * 20 + [0] * 10
    paths = [made(tmp_path / name, right) for name in "ab"]
    assert compare.main(paths) == 0
    cells = capsys.readouterr().out.splitlines()[2].split()
    assert cells[4:] == ["+0.0", "-11.4", "to", "+11.4", "1", "1", "-", "30"]


def test_holm_is_taken_over_the_tasks(tmp_path):
    rights = {"a": {"rlfr_gsm8k": 1, "rlfr_amc23": 3}, "b": {"rlfr_gsm8k": 9, "rlfr_amc23": 4}}
    methods = []
    for name, tasks in rights.items():
        run = {}
        for task, right in tasks.items():
            folder = tmp_path / name / task
            run |= run_files.read_run(Path(made(folder, [1] * right + [0] * (12 - right), registry.task(task))))
        methods.append(comparing.Method(name, [run]))
    [found] = comparing.compare(methods[0], methods[1:])
    p = [stats.paired_test([1] * a + [0] * (12 - a), [1] * b + [0] * (12 - b)).p for a, b in ((1, 9), (3, 4))]
    assert [one.p for one in found] == p and p[0] < p[1]
    assert [one.p_holm for one in found] == [2 * p[0], p[1]]


def test_problems_that_one_run_lacks_are_left_out_and_counted(tmp_path):
    a = comparing.load_method(made(tmp_path / "a", [1, 0, 1, 0]))
    b = comparing.load_method(made(tmp_path / "b", [1, 1, 1], first=1))
    [[found]] = comparing.compare(a, [b])
    assert (found.problems, found.left_out) == (3, 1)
    assert (found.score_a, found.score_b) == (pytest.approx(1 / 3), 1.0)


def test_holm_is_taken_over_all_methods_of_one_call(tmp_path, capsys):
    baseline = [1] * 10 + [0] * 20
    paths = [
        made(tmp_path / name, right)
        for name, right in (
            ("base", baseline),
            ("worse", [0] * 6 + [1] * 4 + [0] * 20),
            ("better", [1] * 19 + [0] * 11),
        )
    ]
    assert compare.main([*paths, "--json", str(tmp_path / "out.json")]) == 0
    worse, better = json.loads((tmp_path / "out.json").read_text())
    assert (worse["b"], better["b"]) == ("worse", "better") and better["p"] < worse["p"] < 0.05
    assert (better["p_holm"], worse["p_holm"]) == (2 * better["p"], worse["p"])
    assert capsys.readouterr().out.count("p Holm: corrected for all comparisons above (2)") == 1


def test_problems_that_could_not_be_graded_are_left_out_for_both_methods_and_counted(tmp_path, capsys):
    paths = [made(tmp_path / "a", [1, 0, 1, 0, 1]), made(tmp_path / "b", [1, 1, 1, 0, 0])]
    path = tmp_path / "b" / GSM8K.name / run_files.SAMPLES
    rows = run_files.read_rows(path)[0]
    rows[4] = rows[4].model_copy(update={"verdict": Verdict("timeout", 0.0, None, "none", "too slow")})
    run_files.write_rows(path, rows)
    [[found]] = comparing.compare(comparing.load_method(paths[0]), [comparing.load_method(paths[1])])
    assert (found.problems, found.left_out, found.ungraded) == (4, 0, 1)
    assert found.test == stats.paired_test([1, 0, 1, 0], [1, 1, 1, 0]) and found.lost == []
    assert compare.main(paths) == 0
    assert "1 problems that could not be graded are left out" in capsys.readouterr().out


def mathverse(folder, right):
    """A run of MathVerse with clusters of 5, 5, 5 and 2 problems, of which the numbers in `right` are right."""
    responses = [
        Response(
            f"<answer>{'A' if i in right else 'B'}</answer>",
            {"sample_index": str(i), "problem_index": str(i // 5), "problem_version": "Vision Only", "answer": "A",
             "query_cot": f"{i}?", "question_for_eval": f"{i}?\nChoices:\nA:1\nB:2", "question_type": "multi-choice",
             "metadata": {"subject": "Plane Geometry", "subfield": "Angle"}},
        )
        for i in range(17)
    ]  # fmt: skip
    importing.import_responses(responses, MATHVERSE, "test", folder.name, folder, None)
    return str(folder)


def test_scores_are_those_of_the_runs_when_clusters_differ_in_size(tmp_path):
    right = [{15, 16}, {15, 16, 0, 5, 6}]
    paths = [mathverse(tmp_path / name, numbers) for name, numbers in zip("ab", right, strict=True)]
    [[found]] = comparing.compare(comparing.load_method(paths[0]), [comparing.load_method(paths[1])])
    scores = [scoring.score_run(Path(path))[0][0].score for path in paths]
    assert [found.score_a, found.score_b] == scores == [2 / 17, 5 / 17]
    assert found.test.difference == pytest.approx(3 / 17)
    differences = [float(i in right[1]) - (i in right[0]) for i in range(17)]
    error = stats.clustered_stderr(differences, [str(i // 5) for i in range(17)])
    assert found.test.standard_error == pytest.approx(error)


def test_groups_of_we_math_count_equally_whatever_their_size(tmp_path):
    """The score is a mean over groups, so that a group of four problems weighs no more than one of three."""
    groups = {f"{steps}steps_{i}": steps for steps in (2, 3) for i in range(3)}
    paths = []
    for name, wrong in (("a", ("2steps_0", "3steps_1")), ("b", ("2steps_1",))):
        responses = [
            Response(f"<answer>{'B' if group in wrong else 'A'}</answer>", wemath_record(group, key, "A"))
            for group, steps in groups.items()
            for key in [*(f"{steps}steps_{i}" for i in range(1, steps + 1)), f"{steps}steps_multi"]
        ]
        spec = registry.task("rlfr_wemath_testmini")
        importing.import_responses(responses, spec, "test", name, tmp_path / name, None)
        paths.append(tmp_path / name)
    [[found]] = comparing.compare(comparing.load_method(str(paths[0])), [comparing.load_method(str(paths[1]))])
    assert [found.score_a, found.score_b] == [scoring.score_run(path)[0][0].score for path in paths]
    assert (found.metric, found.score_a, found.score_b) == ("loose", pytest.approx(4 / 6), pytest.approx(5 / 6))
    assert found.test == stats.paired_test([0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda tmp: [made(tmp / "a", [1, 0]), "nowhere"], "not a run folder"),
        (lambda tmp: [made(tmp / "a", [1, 0]), f"{made(tmp / 'b', [1, 0])},{made(tmp / 'c', [1, 0])}"], "one to one"),
        (
            lambda tmp: [made(tmp / "a", [1, 0]), made(tmp / "b", [1, 0], gold=lambda i: 2 * i + 1)],
            "not the same dataset",
        ),
        (lambda tmp: [made(tmp / "a", [1, 0]), made(tmp / "b", [1, 0], first=5)], "share 0 graded problems"),
        (lambda tmp: [made(tmp / "a", [1, 0]), made(tmp / "b", [1, 0]), "--published", "GPT"], "the paper has"),
    ],
)
def test_runs_that_cannot_be_compared_are_named_in_one_line(tmp_path, capsys, build, named):
    arguments = build(tmp_path)
    capsys.readouterr()  # what importing says
    assert exit_status(compare.main, arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and named in message and "\n" not in message
