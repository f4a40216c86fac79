"""Datasets as TRL columns, and one-line errors for what is wrong with them."""

import csv
import gzip
import io
import json
import logging
from pathlib import Path

import datasets
import pytest

from rlfr_mm.config import DataArguments
from rlfr_mm.data.load import LeftOut, load_demonstrations, load_problems
from rlfr_mm.grading import Item, grade_all
from tests.data.rows import IMAGE_ROW, TEXT_ROW, arguments, write


def test_text_and_image_rows_have_the_columns_that_trl_wants(folder: Path) -> None:
    text, image = load_problems(arguments(write(folder, [TEXT_ROW, IMAGE_ROW])))
    assert text == {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "images": [],
        "solution": "2",
        "choices": [],
        "problem_id": "t",
        "expert": None,
    }
    assert image["prompt"] == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]
    assert [(picture.mode, picture.getpixel((9, 9))) for picture in image["images"]] == [("RGB", (255, 0, 0))]


def test_all_kinds_of_source_give_the_same_rows(folder: Path) -> None:
    rows = [TEXT_ROW, IMAGE_ROW]
    files = [write(folder, rows), str(folder / "rows.json")]
    Path(files[1]).write_text(json.dumps(rows))
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "problem", "answer")}
        | {"images": datasets.List(datasets.Image())}
    )
    embedded = [{**row, "images": [str(folder / name) for name in row["images"]]} for row in rows]
    table = datasets.Dataset.from_list(embedded, features=features)
    table.to_parquet(folder / "rows.parquet")
    table.save_to_disk(folder / "saved")
    datasets.DatasetDict(train=table).save_to_disk(folder / "saved_dict")
    (folder / "repository" / "data").mkdir(parents=True)
    table.to_parquet(folder / "repository" / "data" / "train-00000-of-00001.parquet")
    expected = list(load_problems(arguments(files[0])))
    for source in (files[1], *(folder / name for name in ("rows.parquet", "saved", "saved_dict", "repository"))):
        # the table in the repository names images by absolute paths
        loaded = list(load_problems(arguments(source, media_dir=str(folder))))
        assert [{**row, "images": []} for row in loaded] == [{**row, "images": []} for row in expected], source
        assert [picture.tobytes() for picture in loaded[1]["images"]] == [
            picture.tobytes() for picture in expected[1]["images"]
        ]


def test_a_folder_is_read_as_it_is_now_and_not_as_another_of_its_name_was(tmp_path: Path) -> None:
    """Its README declares its configurations, as in a copy of a repository of the hub."""

    def answers(parent: str, *values: str) -> list[str]:
        repository = tmp_path / parent / "repository"
        repository.mkdir(parents=True, exist_ok=True)
        declared = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: rows.jsonl\n---\n"
        (repository / "README.md").write_text(declared)
        rows = [{**TEXT_ROW, "id": str(i), "answer": value} for i, value in enumerate(values)]
        (repository / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return list(load_problems(arguments(repository))["solution"])

    assert answers("a", "1", "2") == ["1", "2"]
    assert answers("b", "3", "4", "5") == ["3", "4", "5"]
    assert answers("a", "6", "7") == ["6", "7"]


def test_tables_and_compressed_files_give_the_same_rows(folder: Path) -> None:
    rows = [TEXT_ROW, IMAGE_ROW]
    expected = list(load_problems(arguments(write(folder, rows))))
    lines = "\n".join(map(json.dumps, rows))
    cells = [
        [row["id"], row["problem"], json.dumps(row["images"]) if row["images"] else "", row["answer"]] for row in rows
    ]
    files = {"rows.jsonl.gz": lines, "lines.json": lines, "rows.json.gz": json.dumps(rows)}
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t"), ("semicolons.csv", ";"), ("rows.csv.gz", ",")):
        table = io.StringIO()
        csv.writer(table, delimiter=delimiter).writerows([["id", "problem", "images", "answer"], *cells])
        files[name] = table.getvalue()
    for name, content in files.items():
        data = content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        loaded = list(load_problems(arguments(folder / name)))
        assert [{**row, "images": [image.tobytes() for image in row["images"]]} for row in loaded] == [
            {**row, "images": [image.tobytes() for image in row["images"]]} for row in expected
        ], name


def test_streaming_reads_the_first_rows_only(folder: Path) -> None:
    repository = folder / "repository"
    repository.mkdir()
    features = datasets.Features({"problem": datasets.Value("string"), "answer": datasets.Value("string")})
    features["image"] = datasets.Image()
    rows = [{"problem": "How many?", "answer": str(i), "image": str(folder / "red.png")} for i in range(5)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(repository / "train-00000-of-00001.parquet")
    streamed = list(load_problems(arguments(repository, streaming=True, limit=3, media_dir=str(folder))))
    assert [row["solution"] for row in streamed] == ["0", "1", "2"]
    assert streamed[0]["images"][0].getpixel((9, 9)) == (255, 0, 0)
    with pytest.raises(ValueError, match=r"data\.streaming=true needs data\.limit=N"):
        load_problems(arguments(repository, streaming=True))
    with pytest.raises(ValueError, match=r"data\.streaming=true must be left out: .*rows\.jsonl is on this disk"):
        load_problems(arguments(write(folder, [TEXT_ROW]), streaming=True, limit=1))


def test_columns_that_are_not_there_are_named(folder: Path) -> None:
    source = write(folder, [{"question": "1+1?", "gold": "2"}, {"question": "1+2?", "gold": "3"}])
    assert list(load_problems(arguments(source, columns={"answer": "gold"}))["solution"]) == ["2", "3"]
    for columns, message in (
        ({"answer": "golf"}, r"answer is in golf, but the columns are gold, question; did you mean gold\?"),
        ({"anser": "gold"}, r"unknown key data\.columns\.anser; did you mean data\.columns\.answer"),
        ({"answer": ["gold", "question"]}, r"data\.columns\.answer=.* must be one column; only images"),
    ):
        with pytest.raises(ValueError, match=message):
            load_problems(arguments(source, columns=columns))


def test_relative_images_start_from_media_dir(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    source = write(folder / "elsewhere", [IMAGE_ROW])
    assert len(load_problems(arguments(source, media_dir=str(folder)))[0]["images"]) == 1
    with pytest.raises(ValueError, match=r"record 1 \(id i\): no image file .*elsewhere/red\.png"):
        load_problems(arguments(source))


def test_repeated_ids_are_told_apart(folder: Path) -> None:
    source = write(folder, [TEXT_ROW, {**TEXT_ROW, "answer": "3"}, IMAGE_ROW, TEXT_ROW])
    dataset = load_problems(arguments(source))
    assert list(dataset["problem_id"]) == ["t", "t#2", "i", "t#3"]
    assert dataset[1]["solution"] == "3"


def test_limit_takes_the_first_rows_and_reads_no_others(folder: Path) -> None:
    source = write(folder, [TEXT_ROW, {**IMAGE_ROW, "images": ["gone.png"]}])
    assert list(load_problems(arguments(source, limit=1))["problem_id"]) == ["t"]


def test_demonstrations_without_an_expert_response_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"uuid": name, "problem": "1+1?", "answer": "2", "generations": ["2!"], "correctness_math_verify": [correct]}
        for name, correct in (("a", True), ("b", False))
    ]
    with caplog.at_level(logging.WARNING):
        dataset = load_demonstrations(arguments(write(folder, rows)))
    assert [(row["problem_id"], row["completion"]) for row in dataset] == [("a", "2!")]
    assert "1 of 2 rows have no expert response" in caplog.text
    with pytest.raises(ValueError, match="none of the 1 rows has an expert response"):
        load_demonstrations(arguments(write(folder, rows[1:])))


def test_quickstart_problems_are_drawn_and_their_demonstrations_are_right() -> None:
    args = DataArguments(limit=6, levels=[2, 3])
    problems, demonstrations = list(load_problems(args)), list(load_demonstrations(args))
    assert len(problems) == 6
    for problem, demonstration in zip(problems, demonstrations, strict=True):
        completion = demonstration.pop("completion")
        assert problem.pop("expert") == completion
        assert completion.endswith(f"<answer>{problem['solution']}</answer>")
        assert problem.pop("images")[0].tobytes() == demonstration.pop("images")[0].tobytes()
        assert problem == demonstration
    held_out = load_problems(DataArguments(limit=6, levels=[2, 3], split="test"))
    assert not set(held_out["problem_id"]) & {problem["problem_id"] for problem in problems}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "?", "answer": "1"}\n\n{"problem": ', r"rows\.jsonl, line 3, is not valid JSON"),
        ('["?", "1"]', r"rows\.jsonl: record 1 is a list; each record must be an object"),
        ("\n", "has no rows"),
        ('{"text": "?"}', "cannot tell the format from the columns text"),
        ('{"problem": "?"}', "cannot tell the format from the columns problem"),
        ('{"id": 1, "problem": "?", "answer": "1"}\n{"id": 2, "problem": "?"}', r"record 2 \(id 2\): answer or"),
        (
            '{"problem": "?", "answer": "1"}\n{"id": 9, "problem": "?", "answer": "\\\\frac{1}{2"}',
            r"record 2 \(id 9\): the answer '\\\\frac\{1\}\{2' cannot be parsed",
        ),
    ],
)
def test_a_bad_file_is_reported_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_problems(arguments(tmp_path / "rows.jsonl"))
    assert "\n" not in str(error.value)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.source=.*gone\.jsonl does not exist"):
        load_problems(arguments(tmp_path / "gone.jsonl"))
    (tmp_path / "rows.json").write_text('{"problem": "?"}')
    with pytest.raises(ValueError, match=r"rows\.json is not a list of records"):
        load_problems(arguments(tmp_path / "rows.json"))
    (tmp_path / "zip.jsonl").write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(ValueError, match=r"zip\.jsonl, line 1, is not valid JSON"):
        load_problems(arguments(tmp_path / "zip.jsonl"))
    for name, message in (
        ("zip.jsonl.gz", "zip.jsonl.gz is not a gzip file"),
        ("zip.csv", "zip.csv is not a .csv file in UTF-8"),
        ("zip.arrow", r"zip.arrow must be a file of one of these kinds: json, jsonl, csv, tsv, parquet"),
    ):
        (tmp_path / name).write_bytes(b"PK\x03\x04\xff")
        with pytest.raises(ValueError, match=message):
            load_problems(arguments(tmp_path / name))
    (tmp_path / "wide.csv").write_text("problem,answer\n1,000 + 1?,1001\n")
    with pytest.raises(ValueError, match=r"wide\.csv: record 1 has more cells than the first line has columns"):
        load_problems(arguments(tmp_path / "wide.csv"))
    for name, content, message in (
        ("twice.csv", "problem,answer,answer\n1+1?,2,3", r"twice\.csv has the column answer more than once"),
        ("open.csv", 'problem,answer\n"1+1?,2', r"open\.csv is not a \.csv file: .*; a cell may open a quote"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            load_problems(arguments(tmp_path / name))
    datasets.DatasetDict(test=datasets.Dataset.from_list([{"problem": "?", "answer": "1"}])).save_to_disk(
        tmp_path / "d"
    )
    with pytest.raises(
        ValueError, match=r"cannot load .*, split train: there is no such split; set data\.split to one of te"
    ):
        load_problems(arguments(tmp_path / "d"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"cannot load .*empty, split train"):
        load_problems(arguments(tmp_path / "empty"))


def test_line_separators_inside_a_json_string_do_not_end_the_record(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"problem": "1\u2028+1?", "answer": "2"}\n', encoding="utf-8")
    assert load_problems(arguments(tmp_path / "rows.jsonl"))[0]["prompt"][0]["content"] == "1\u2028+1?"


def test_real_records_keep_their_ids_answers_and_options(shared: Path) -> None:
    args = DataArguments(str(shared / "hub" / "MathLLMs/MathVision"), split="test")
    rows = {row["problem_id"]: row for row in load_problems(args).with_format(None)}
    assert len(rows) == 300
    assert (rows["4"]["solution"], rows["4"]["choices"]) == ("6", [])
    lettered = [row for row in rows.values() if row["choices"]]
    assert lettered and all(row["solution"] in "ABCDE" for row in lettered)
    geometry = load_problems(DataArguments(str(shared / "hub" / "hiyouga/geometry3k")))
    assert geometry[0]["solution"] == "80"
    assert geometry[0]["prompt"][0]["content"][0] == {"type": "image"}


def test_a_real_record_without_its_image_is_named(shared: Path) -> None:
    args = DataArguments(str(shared / "hub" / "MathLLMs/MathVision"), split="testmini")
    with pytest.raises(ValueError, match=r"record 301 \(id 2786\): no image file .*images/2786\.jpg; set data\.media"):
        load_problems(args)


def test_gsm8k_answers_are_what_follows_the_hashes(shared: Path) -> None:
    dataset = load_problems(DataArguments(str(shared / "hub" / "openai/gsm8k"), name="main", limit=50))
    assert all(solution.replace(",", "").isdecimal() for solution in dataset["solution"])


def test_gsm8k_and_math_as_published_are_demonstrations_that_grade_as_correct(shared: Path) -> None:
    gsm8k = DataArguments(str(shared / "hub" / "openai/gsm8k"), name="main", limit=200)
    math = DataArguments(str(shared / "hub" / "HuggingFaceH4/MATH-500"), split="test", limit=50)
    for args, count in ((gsm8k, 200), (math, 50)):
        rows = load_demonstrations(args).with_format(None)
        verdicts = grade_all([Item(row["completion"], row["solution"]) for row in rows])
        assert len(rows) == count and all(verdict.correct for verdict in verdicts)
        assert not any("<<" in row["completion"] or "####" in row["completion"] for row in rows)


def test_answers_without_reasoning_are_not_demonstrations(folder: Path) -> None:
    with pytest.raises(ValueError, match="none of the 1 rows has an expert response; give one in completion, or a sol"):
        load_demonstrations(arguments(write(folder, [TEXT_ROW])))


def test_a_repeated_id_does_not_take_the_id_of_another_record(folder: Path) -> None:
    rows = [{**TEXT_ROW, "id": name} for name in ("a", "a", "a#2", "a", "b")]
    ids = list(load_problems(arguments(write(folder, rows)))["problem_id"])
    assert ids == ["a", "a#3", "a#2", "a#4", "b"]


def test_a_byte_order_mark_is_no_part_of_the_first_record(folder: Path) -> None:
    source = Path(write(folder, [TEXT_ROW]))
    for mark in (b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
        marked = folder / "marked.jsonl"
        marked.write_bytes(mark + source.read_bytes())
        assert list(load_problems(arguments(marked))["problem_id"]) == ["t"]


def test_an_answer_of_ten_megabytes_is_refused_at_once(folder: Path) -> None:
    for answer in ("7" * 10**7, "\\boxed{" * 10**6):
        with pytest.raises(ValueError, match=r"record 1 \(id t\): the answer has [\d,]+ characters") as error:
            load_problems(arguments(write(folder, [{**TEXT_ROW, "answer": answer}])))
        assert len(str(error.value)) < 400


BAD_ROWS = [
    {**TEXT_ROW, "id": "no answer", "answer": ""},
    {**IMAGE_ROW, "id": "no file", "images": ["gone.png"]},
    {**TEXT_ROW, "id": "no formula", "answer": "\\frac{1}{2"},
]


@pytest.mark.parametrize("as_parquet", [False, True])
def test_bad_records_are_left_out_up_to_a_limit_and_listed(folder: Path, as_parquet: bool) -> None:
    rows = [BAD_ROWS[0], TEXT_ROW, *BAD_ROWS[1:], {**IMAGE_ROW, "images": []} | {"problem": "How many?"}]
    source = write(folder, rows)
    if as_parquet:
        source = str(folder / "rows.parquet")
        datasets.Dataset.from_list(rows).to_parquet(source)
    left_out = LeftOut(3)
    dataset = load_problems(arguments(source, skip_bad_records=3, media_dir=str(folder)), left_out)
    assert list(dataset["problem_id"]) == ["t", "i"] and dataset[0]["solution"] == "2"
    for record, reason in zip(
        ("record 1 (id no answer)", "record 3 (id no file)", "record 4 (id no formula)"), left_out.reasons, strict=True
    ):
        assert record in reason
    with pytest.raises(ValueError, match=r"record 4 \(id no formula\).*skip_bad_records=2 were left out"):
        load_problems(arguments(source, skip_bad_records=2, media_dir=str(folder)))
    with pytest.raises(ValueError, match="none of the 3 records can be used"):
        load_problems(arguments(write(folder, [BAD_ROWS[0]] * 3), skip_bad_records=3))


def test_images_outside_of_the_media_folder_are_refused_unless_allowed(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "link.png").symlink_to(folder / "red.png")
    for name in ("../red.png", str(folder / "red.png"), f"file://{folder}/red.png", "link.png"):
        source = write(folder / "data", [{**IMAGE_ROW, "images": [name]}])
        with pytest.raises(ValueError, match=r"record 1 \(id i\): the image .* lies outside of .*allow_outside"):
            load_problems(arguments(source))
        assert load_problems(arguments(source, allow_outside_media_dir=True))[0]["images"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("videos", "holds a video or sound"),
        ("audio_path", "holds a video or sound"),
        ("image_1", "holds an image that would be ignored"),
    ],
)
def test_media_that_no_prompt_would_hold_are_refused(folder: Path, column: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"record 1 \(id t\): column {column} {message}"):
        load_problems(arguments(write(folder, [{**TEXT_ROW, column: ["clip.mp4"]}])))
    assert load_problems(arguments(write(folder, [{**TEXT_ROW, column: []}])))
