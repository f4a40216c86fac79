"""The report shows what the rows say, each response beside the picture it answers, and nothing of it as markup."""

import gzip
import html
import json
import re

import pytest
from PIL import Image

from rlfr_mm.eval import report
from rlfr_mm.eval.engine import records, report_cards, reporting, run_files
from rlfr_mm.eval.engine.plan import load_docs
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.quickstart import world
from rlfr_mm.tasks import registry
from tests.eval.commands import exit_status
from tests.eval.export_runs import BOARDS, make_run

ATTACK = (
    "</script></pre><script>alert('ran')</script><img src=http://127.0.0.1:9/x.png onerror=alert('loaded')>"
    "<svg onload=alert('svg')><!-- {{ 7 * 7 }} \u2028 \u202e 中文 ∑ 😀 &lt; \" '"
)
TEXTS = "[...document.querySelectorAll({!r})].map(element => element.textContent)"
COUNT = "document.querySelector('.count').textContent"


@pytest.fixture(scope="module")
def drawn():
    """The first problems of the drawn world, and a response to each that is right."""
    docs = [dict(doc) for doc in load_docs(registry.task("rlfr_quickstart"), None).select(range(12))]
    return docs, [world.draw_problem(i, "test", world.LEVELS[i % 3]).demonstration for i in range(12)]


def with_image_hashes(run, task, docs):
    """The run as eval.run leaves it, which hashes the images it shows to the model."""
    path = run / task / run_files.SAMPLES
    spec = registry.task(task)
    rows = [
        row.model_copy(update={"image_hashes": [records.image_hash(image) for image in spec.images(docs[row.doc_id])]})
        for row in run_files.read_rows(path)[0]
    ]
    run_files.write_rows(path, rows)


def wrong(demonstration):
    return re.sub(r"<answer>\d+", "<answer>99", demonstration)


@pytest.fixture(scope="module")
def runs(drawn, tmp_path_factory):
    """Two runs of 12 problems, right in 6 and 9 of them, and of 4 problems with 4 samples each."""
    docs, right = drawn
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for name, good in (("first", 6), ("second", 9)):
        once = [
            (doc, [text if i < good else wrong(text) if i < 11 else "I cannot see the picture."])
            for i, (doc, text) in enumerate(zip(docs, right, strict=True))
        ]
        often = [
            (doc, [text if s < i * (good > 6) else wrong(text) for s in range(4)])
            for i, (doc, text) in enumerate(zip(docs[:4], right, strict=False))
        ]
        made.append(make_run(folder / name, {"rlfr_quickstart": once, "rlfr_quickstart_pass32": often}))
        for task in ("rlfr_quickstart", "rlfr_quickstart_pass32"):
            with_image_hashes(made[-1], task, docs)
    return made


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    """The page of both runs, written by the command."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert report.main([*map(str, runs), "--out", str(path)]) == 0
    return path


def data_of(text):
    return json.loads(text.split('id="data">', 1)[1].split("</script>", 1)[0])


def said(found, answer):
    """The text of the prompt that an answer answers."""
    return "".join(part for message in found["prompts"][answer["prompt"]] for part in message["parts"] if part)


# ---------------------------------------------------------------------------------------------------- figures


def test_scores_and_intervals_are_those_of_the_results(runs, page):
    text = html.unescape(
        re.sub(r"<svg.*?</svg>|<[^>]*>", " ", page.read_text().split('id="scores"')[1], flags=re.DOTALL)
    )
    text = " ".join(text.split("pass@k")[0].split())
    scored, complaints = reporting.score_tasks(reporting.read_runs(runs))
    assert complaints == []
    for member in scored["rlfr_quickstart"]:
        low, high = member.strict.interval.low, member.strict.interval.high
        figures = f"{100 * member.strict.score:.1f} {100 * low:.1f}–{100 * high:.1f} 12 problems"
        assert figures in text
    assert [member.strict.score for member in scored["rlfr_quickstart"]] == [0.5, 0.75]


def test_pass_at_k_and_category_scores_are_the_tasks_own_metrics(runs):
    scored, _ = reporting.score_tasks(reporting.read_runs(runs))
    member = scored["rlfr_quickstart_pass32"][1]
    curve = reporting.pass_at_k(member)
    assert [bar.value for bar in curve] == pytest.approx([member.strict.metrics[f"pass@{k}"] for k in (1, 2, 3, 4)])
    # 0, 1, 2 and 3 of 4 samples are right.
    assert [curve[0].value, curve[3].value] == pytest.approx([6 / 16, 3 / 4])
    assert all(bar.interval[0] < bar.value < bar.interval[1] for bar in curve)
    levels = reporting.category_scores(scored["rlfr_quickstart"][0], "level")
    assert {f"level/{level}": bar.value for level, (_, bar) in levels.items()} == {
        key: value for key, value in scored["rlfr_quickstart"][0].strict.metrics.items() if key.startswith("level/")
    }
    assert [n for n, _ in levels.values()] == [4, 4, 4]


def test_a_headline_that_is_no_accuracy_has_the_accuracy_beside_it(tmp_path):
    runs = reporting.read_runs([make_run(tmp_path / "run", {"rlfr_wemath_testmini": BOARDS["rlfr_wemath_testmini"]})])
    result = reporting.score_tasks(runs)[0]["rlfr_wemath_testmini"][0].strict
    assert result.headline == "loose" and result.score != result.metrics["accuracy"]
    text = reporting.report_page(runs, tmp_path)[0]
    assert f'<span class="score">{100 * result.score:.1f}</span>' in text
    assert f"<small>accuracy {100 * result.metrics['accuracy']:.1f}</small>" in text


def test_every_task_of_the_registry_with_rows_makes_a_page(tmp_path):
    run = make_run(tmp_path / "run", BOARDS)
    text, notes = reporting.report_page(reporting.read_runs([run]), tmp_path)
    rows = {(row.task, row.problem_id): row for found in run_files.read_run(run).values() for row in found}
    cards = data_of(text)["cards"]
    assert len(cards) == len(rows)
    for card in cards:
        for rule in ("strict", "official"):
            verdict, shown = rows[card["task"], card["problem"]].judged(rule), card["answers"][0][rule]
            assert (shown["status"], shown["extracted"]) == (verdict.status, verdict.extracted)
    assert any(row.verdict.status != row.verdict_official.status for row in rows.values())
    assert all(f"<figcaption>{task}</figcaption>" in text for task in BOARDS)
    assert notes and "not shown" in notes[0]


# ---------------------------------------------------------------------------------------------------- samples


def test_cards_pair_the_runs(runs, page):
    found = data_of(page.read_text())
    cards = [card for card in found["cards"] if card["task"] == "rlfr_quickstart"]
    rows = [run_files.read_run(run)["rlfr_quickstart"] for run in runs]
    assert len(cards) == 12
    for card, *pair in zip(cards, *rows, strict=True):
        assert [said(found, answer) for answer in card["answers"]] == [row.prompt for row in pair]
        assert card["gold"] == [pair[0].gold] and card["problem"] == pair[0].problem_id
        for answer, row in zip(card["answers"], pair, strict=True):
            assert "".join(answer["response"]) == row.response and answer["tokens"] == row.completion_tokens
            assert answer["response"][1:2] == [row.response[slice(*span)] for span in [row.verdict.span] if span]
    statuses = [answer["strict"]["status"] for card in cards for answer in card["answers"]]
    assert [statuses.count(status) for status in ("correct", "wrong", "no_answer")] == [15, 7, 2]


def test_an_image_is_shown_only_where_it_is_the_one_that_the_model_saw(drawn, tmp_path):
    docs, right = drawn
    run = make_run(
        tmp_path / "run", {"rlfr_quickstart": [(doc, [text]) for doc, text in zip(docs[:3], right, strict=False)]}
    )
    other = [docs[0], docs[1] | {"image": Image.new("RGB", (84, 84), "red")}, docs[2]]
    with_image_hashes(run, "rlfr_quickstart", other)
    text, notes = reporting.report_page(reporting.read_runs([run]))
    found = data_of(text)
    assert [card["images"][0] in found["images"] for card in found["cards"]] == [True, False, True]
    assert notes == ["images are not shown for 1 of 3 problems: the data have changed since the run"]
    assert html.escape(notes[0]) in text


def test_imported_rows_get_the_question_and_the_image_of_their_record(drawn, tmp_path):
    docs, right = drawn
    run = make_run(tmp_path / "run", {"rlfr_quickstart": [(docs[5], [right[5]])]})
    path = run / "rlfr_quickstart" / run_files.SAMPLES
    run_files.write_rows(path, [row.model_copy(update={"prompt": None}) for row in run_files.read_rows(path)[0]])
    text, notes = reporting.report_page(reporting.read_runs([run]))
    found = data_of(text)
    (card,) = found["cards"]
    assert docs[5]["question"] in said(found, card["answers"][0])
    assert card["images"] == [records.image_hash(docs[5]["image"])] == list(found["images"]) and notes == []


def test_images_stop_at_the_bound_and_the_page_says_so(drawn, runs, monkeypatch):
    monkeypatch.setattr(report_cards, "MAX_IMAGE_CHARS", 1000)
    text, notes = reporting.report_page(reporting.read_runs(runs[:1]))
    images = data_of(text)["images"].values()
    assert sum(map(len, images)) < 1000 + max(map(len, images))
    assert "a page holds" in notes[0]


def test_of_too_many_answers_every_problem_keeps_its_first(runs, monkeypatch):
    rows = [run.rows for run in reporting.read_runs(runs)]
    assert len(report_cards.cards(rows)[0]) == 12 + 16
    monkeypatch.setattr(report_cards, "MAX_ANSWERS", 2 * (12 + 4) + 2)
    kept = [card for card in report_cards.cards(rows)[0] if card["task"] == "rlfr_quickstart_pass32"]
    assert [card["sample"] for card in kept] == [0, 1, 0, 0, 0]
    _, notes = reporting.report_page(reporting.read_runs(runs))
    assert notes[0].startswith("the responses below are 34 of 56")


def test_a_long_text_keeps_both_ends():
    text = "".join(map(str, range(20_000)))
    short = report_cards.cut(text)
    assert report_cards.cut(short[:100]) == short[:100]
    assert len(short) < report_cards.MAX_CHARS + 100
    assert short.startswith("012345") and short.endswith("1999819999") and f"{len(text) - 20_000:,} characters" in short


# ---------------------------------------------------------------------------------------------------- in a browser


def test_filters_and_search_find_what_the_rows_say(page, chromium):
    queries = {
        "": "1–10 of 28 samples of problems",
        "task=rlfr_quickstart": "1–10 of 12 samples of problems (28 in all)",
        "task=rlfr_quickstart&outcome=no_answer": "1–1 of 1 samples of problems (28 in all)",
        "task=rlfr_quickstart&runs=disagree": "1–3 of 3 samples of problems (28 in all)",
        "runs=1-correct&task=rlfr_quickstart_pass32": "1–6 of 6 samples of problems (28 in all)",
        "q=CANNOT+see+the+picture": "1–1 of 1 samples of problems (28 in all)",
        "q=no+such+words": "None of the 28 samples of problems fits.",
        "page=3": "21–28 of 28 samples of problems",
    }
    for query, told in queries.items():
        chromium.open(f"{page.as_uri()}#{query}")
        assert chromium.evaluate(COUNT) == told
    assert (
        chromium.evaluate("[...document.querySelectorAll('.card img')].map(i => [i.naturalWidth, i.alt])")
        == [[84, "Image of the problem"]] * 8
    )


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_the_window_in_light_and_dark(page, chromium, tmp_path, width, dark):
    chromium.open(page.as_uri(), width=width, dark=dark)
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    blocks = "[...document.querySelectorAll('main *')].filter(block => !block.closest('.scroll, svg'))"
    assert chromium.evaluate(f"{blocks}.every(block => block.getBoundingClientRect().right <= {width})")
    chromium.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        colours = picture.convert("L").getcolors()
    paper = max(colours)[1]
    assert (paper < 60) == dark and len(colours) > 30
    assert chromium.errors == [] and chromium.requests == []


def test_nothing_that_a_model_or_a_dataset_says_becomes_markup(drawn, chromium, tmp_path):
    docs, right = drawn
    hostile = docs[0] | {"id": ATTACK, "level": ATTACK, "solution": ATTACK, "question": ATTACK}
    answers = [(hostile, [ATTACK]), (docs[1], [f"<answer>{ATTACK}</answer>"]), (docs[2], [right[2]])]
    run = make_run(tmp_path / "<img src=y onerror=alert(1)>", {"rlfr_quickstart": answers})
    manifest = run_files.read_manifest(run)
    named = manifest.model.model_copy(update={"name": ATTACK, "args": {ATTACK: ATTACK}})
    run_files.write_manifest(run, manifest.model_copy(update={"model": named}))
    path = tmp_path / "page.html"
    assert report.main([str(run), "--out", str(path)]) == 0
    for query in ("", "q=onerror"):
        chromium.open(f"{path.as_uri()}#{query}")
        assert chromium.dialogs == [] and chromium.requests == [] and chromium.errors == []
    assert chromium.evaluate(TEXTS.format(".answer pre")) == [ATTACK, f"<answer>{ATTACK}</answer>"]
    assert chromium.evaluate(TEXTS.format(".answer code")) == [ATTACK]
    assert chromium.evaluate(TEXTS.format(".question code")) == [ATTACK, docs[1]["solution"]]
    assert chromium.evaluate(TEXTS.format(".card header b"))[0] == ATTACK
    assert chromium.evaluate("document.scripts.length") == 2
    assert ATTACK in chromium.evaluate("document.querySelector('.facts').textContent")


def test_ten_thousand_responses_leave_one_page_of_them_in_the_document(runs, chromium, tmp_path):
    task = "rlfr_quickstart"
    rows = run_files.read_run(runs[0])[task]
    many = [row.model_copy(update={"sample_index": sample}) for row in rows for sample in range(834)]
    run_files.write_rows(tmp_path / "run" / task / run_files.SAMPLES, many)
    manifest = run_files.read_manifest(runs[0])
    plan = manifest.tasks[task].model_copy(update={"samples": 834})
    run_files.write_manifest(tmp_path / "run", manifest.model_copy(update={"tasks": {task: plan}}))
    assert report.main([str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    chromium.open((tmp_path / "page.html").as_uri() + "#page=1001")
    assert chromium.evaluate(COUNT) == "10,001–10,008 of 10,008 responses"
    chromium.evaluate("document.querySelector('.pager button').click()")
    assert chromium.evaluate(COUNT) == "9,991–10,000 of 10,008 responses"
    assert chromium.evaluate("document.querySelectorAll('.card').length") == 10


def test_a_prompt_is_shown_as_its_messages_with_the_image_in_its_place(drawn, chromium, tmp_path):
    docs, right = drawn
    run = make_run(tmp_path / "run", {"rlfr_quickstart": [(docs[0], [right[0]])]})
    with_image_hashes(run, "rlfr_quickstart", docs)
    path, page = run / "rlfr_quickstart" / run_files.SAMPLES, tmp_path / "page.html"
    rendered = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|>"
        "<|vision_end|>Count blue.<|im_end|>\n<|im_start|>assistant\n"
    )
    run_files.write_rows(path, [row.model_copy(update={"prompt": rendered}) for row in run_files.read_rows(path)[0]])
    assert report.main([str(run), "--out", str(page)]) == 0
    chromium.open(page.as_uri())
    assert chromium.evaluate(TEXTS.format(".question .role")) == ["system", "user"]
    assert chromium.evaluate(TEXTS.format(".question .said")) == ["You are a helpful assistant.", "Count blue."]
    assert "<|" not in chromium.evaluate("document.querySelector('main').textContent")
    (image,) = data_of(page.read_text())["images"].values()
    assert chromium.evaluate("document.querySelector('.user .said').firstChild.firstChild.src") == image
    chromium.evaluate("document.querySelector('.picture').click()")
    large = "document.querySelector('dialog.large')"
    assert chromium.evaluate(f"[{large}.open, {large}.firstChild.src]") == [True, image]
    chromium.evaluate(f"{large}.click()")
    assert not chromium.evaluate(f"{large}.open") and chromium.errors == []


def test_the_official_scorer_is_shown_only_where_a_benchmark_has_one(tmp_path):
    for task, has_one in (("rlfr_mathvista_testmini", True), ("rlfr_mathverse_testmini", False)):
        run = make_run(tmp_path / task, {task: BOARDS[task]})
        text, _ = reporting.report_page(reporting.read_runs([run]), tmp_path)
        assert ("official scorer" in text.split("<script")[0]) == has_one
        assert data_of(text)["official"] == ([task] if has_one else [])


def test_the_span_that_was_read_is_marked_also_in_a_text_that_is_cut():
    assert report_cards.marked("So 😀 9.", (5, 6)) == ["So 😀 ", "9", "."]
    assert report_cards.marked("So 9.", None) == ["So 9."]
    text = "a" * 30_000
    for start, end in ((10, 12), (29_990, 29_992)):
        before, read, after = report_cards.marked(text[:start] + "42" + text[end:], (start, end))
        assert read == "42" and before + read + after == report_cards.cut(text[:start] + "42" + text[end:])
    assert report_cards.marked(text, (15_000, 15_002)) == [report_cards.cut(text)]


def test_published_responses_stand_beside_their_pictures(shared, chromium, tmp_path):
    spec = registry.task("rlfr_mathvision_testmini")
    docs = load_docs(spec, str(shared / "hub")).select(range(20))
    with gzip.open(shared / "parity" / "mathv__Qwen-VL-Max-CoT.jsonl.gz", "rt", encoding="utf-8") as file:
        responses = {row["id"]: row["response"] for row in map(json.loads, file)}
    answers = [(dict(doc), [responses[doc["id"]]]) for doc in docs]
    run = make_run(tmp_path / "run", {spec.name: answers}, rows_expected=spec.rows)
    with_image_hashes(run, spec.name, docs)
    path = tmp_path / "page.html"
    assert report.main([str(run), "--out", str(path), "--data_root", str(shared / "hub")]) == 0
    chromium.open(f"{path.as_uri()}#page=2")
    assert chromium.evaluate(TEXTS.format(".answer pre")) == [answers[i][1][0] for i in range(10, 20)]
    rows = run_files.read_run(run)[spec.name]
    read = [row.response[slice(*row.verdict.span)] for row in rows[10:20] if row.verdict.span]
    assert chromium.evaluate(TEXTS.format(".answer mark")) == read and len(read) > 5
    sizes = chromium.evaluate("[...document.querySelectorAll('.card img')].map(i => [i.naturalWidth, i.naturalHeight])")
    for (width, height), doc in zip(sizes, docs.select(range(10, 20)), strict=True):
        large = spec.images(doc)[0]
        assert max(width, height) <= report_cards.IMAGE_SIDE
        assert width / height == pytest.approx(large.width / large.height, rel=0.05)
    assert "partial: do not quote" in path.read_text()


# ---------------------------------------------------------------------------------------------------- bad input


def test_bad_input_ends_in_one_line_and_status_2(runs, tmp_path, capsys):
    empty = tmp_path / "empty"
    run_files.write_rows(empty / "rlfr_quickstart" / run_files.SAMPLES, [])
    run_files.write_manifest(empty, run_files.read_manifest(runs[0]))
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "config.yaml").write_text("train: {}")
    run, out = str(runs[0]), str(tmp_path / "page.html")
    for arguments, told in (
        ([str(tmp_path / "nothing"), "--out", out], "is not a run folder"),
        ([run, str(empty), "--out", out], "has no responses yet"),
        ([run, run + "/", "--out", out], "given twice"),
        ([run, "--out", str(tmp_path)], "cannot write"),
        ([str(tmp_path / "trained"), "--out", out], "rlfr_mm.inspect shows runs of training"),
        ([str(tmp_path / "trained/config.yaml"), "--out", out], "is not a run folder"),
        ([run, "--out", out, "--data_root", str(tmp_path / "gone")], "gone is not a folder"),
    ):
        assert exit_status(report.main, arguments) == 2
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("error: ") and told in message
    assert not (tmp_path / "page.html").exists()


def test_runs_of_one_name_are_told_apart_by_their_paths(runs, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "first").symlink_to(runs[0])
    copies = [runs[0], tmp_path / "b" / "first"]
    copies[1].parent.mkdir()
    run_files.write_manifest(copies[1], run_files.read_manifest(runs[0]))
    for task, rows in run_files.read_run(runs[0]).items():
        run_files.write_rows(copies[1] / task / run_files.SAMPLES, rows)
    assert [run.label for run in reporting.read_runs(copies)] == [str(folder) for folder in copies]
    with pytest.raises(RunError, match="twice"):
        reporting.read_runs([runs[0], tmp_path / "a" / "first"])


def test_a_task_that_cannot_be_scored_costs_the_others_nothing(runs, tmp_path):
    manifest = run_files.read_manifest(runs[0])
    run = tmp_path / "run"
    tasks = {"rlfr_gone": manifest.tasks["rlfr_quickstart"], "rlfr_quickstart": manifest.tasks["rlfr_quickstart"]}
    for task in tasks:
        rows = [row.model_copy(update={"task": task}) for row in run_files.read_run(runs[0])["rlfr_quickstart"]]
        run_files.write_rows(run / task / run_files.SAMPLES, rows)
    run_files.write_manifest(run, manifest.model_copy(update={"tasks": tasks}))
    text, notes = reporting.report_page(reporting.read_runs([run]))
    assert len(data_of(text)["cards"]) == 24
    assert "rlfr_gone" in notes[0] and "<figcaption>rlfr_quickstart</figcaption>" in text
