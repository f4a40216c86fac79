"""A row of each dataset layout becomes the same record, and a bad row gives a one-line error."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rlfr_mm.data.prompts import INSTRUCTIONS
from rlfr_mm.data.readers import check_columns, detect_format, final_answer, read_row

IMAGE = {"type": "image", "text": None}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")

    def read(row: dict[str, Any], format_name: str = "trl", instruction: str = "none", expert: bool = False) -> Any:
        return read_row(
            row, 7, format_name=format_name, source="x.jsonl", folder=tmp_path, instruction=instruction, expert=expert
        )

    return read


def names(record: dict[str, Any]) -> list[str]:
    return [Path(image["path"]).name for image in record["images"]]


def test_easyr1_images_stand_where_their_placeholders_are(read: Any) -> None:
    record = read({"problem": "<image>Is <image> larger?", "images": ["b.png", "a.png"], "answer": "no", "id": 4})
    assert record["prompt"] == [{"role": "user", "content": [IMAGE, text("Is "), IMAGE, text(" larger?")]}]
    assert names(record) == ["b.png", "a.png"]
    assert (record["solution"], record["problem_id"]) == ("no", "4")


def test_images_without_placeholders_stand_before_the_question(read: Any) -> None:
    record = read({"question": "How many?\n<image1>", "decoded_image": None, "image": "a.png", "answer": "6"})
    assert record["prompt"][0]["content"] == [IMAGE, text("How many?\n<image1>")]


def test_all_mm_eureka_layouts_give_the_same_record(read: Any, tmp_path: Path) -> None:
    system, question = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which angle?"}
    inside = {"role": "user", "content": [{"type": "image", "image": f"file://{tmp_path}/a.png"}, text("Which angle?")]}
    rows = [
        {"conversations": [system, question], "image_urls": [f"file://{tmp_path}/a.png"]},
        {"message": [system, inside]},
        {"message": json.dumps([system, inside])},
        {"prompt": [system, question], "images": ["a.png"]},
    ]
    for row in rows:
        record = read({**row, "id": "0", "answer": "$30^\\circ$"}, "mm_eureka")
        assert record["prompt"] == [
            {"role": "system", "content": [text("Be brief.")]},
            {"role": "user", "content": [IMAGE, text("Which angle?")]},
        ]
        assert (names(record), record["solution"], record["problem_id"]) == (["a.png"], "$30^\\circ$", "0")


def test_the_instruction_ends_the_last_question(read: Any) -> None:
    row = {"prompt": "<image>Find x.", "images": ["a.png"], "answer": "3"}
    content = read(row, "mm_eureka", "boxed")["prompt"][-1]["content"]
    assert content == [IMAGE, text(f"Find x.\n{INSTRUCTIONS['boxed']}")]


def test_options_are_listed_where_the_answer_is_their_letter(read: Any) -> None:
    days = ["Wednesday", "Friday"]
    record = read({"question": "Which day?", "options": days, "answer": "B"})
    assert record["prompt"][0]["content"] == [text("Which day?\nChoices:\n(A) Wednesday\n(B) Friday")]
    assert record["choices"] == days
    for spelled in ("(B)", "(b)", "B.", "B:", "b", "b.", 1, 1.0):
        again = read({"question": "Which day?", "options": days, "answer": spelled})
        assert (again["prompt"], again["choices"], again["solution"]) == (record["prompt"], days, "B")
    drawn = read({"question": "Which one?", "options": ["(A)", "(B)"], "answer": "B"})
    assert drawn["prompt"][0]["content"] == [text("Which one?")]
    for labelled in (["A. Wednesday", "B. Friday"], ["(A) Wednesday", "(B) Friday"], {"A": days[0], "B": days[1]}):
        again = read({"question": "Which day?", "options": labelled, "answer": "B"})
        assert (again["prompt"], again["choices"]) == (record["prompt"], days)
    for answer in ("4", 4, "4 cm"):  # geometry3k asks for the value
        free = read({"problem": "Find x.", "choices": ["3", "4"], "answer": answer})
        assert (free["prompt"][0]["content"], free["choices"]) == ([text("Find x.")], [])
    none = read({"problem": "Which?", "options": ["one", "None"], "answer": "None"})
    assert (none["solution"], none["choices"]) == ("B", ["one", "None"])


def test_openr1_takes_the_first_whole_generation_that_is_verified(read: Any) -> None:
    row = {
        "problem": "1+1?",
        "answer": "2",
        "uuid": "u",
        "generations": ["wrong", "right but cut", "right", "also right"],
        "correctness_math_verify": [False, True, True, True],
        "correctness_llama": None,
        "is_reasoning_complete": [True, False, True, True],
        "messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "from messages"}],
    }
    assert read(row, "openr1_math", expert=True)["completion"] == "right"
    judged = {**row, "correctness_math_verify": None, "correctness_llama": [True, False, False, False]}
    assert read(judged, "openr1_math", expert=True)["completion"] == "wrong"
    unverified = {**row, "correctness_math_verify": [False] * 4}
    assert read(unverified, "openr1_math", expert=True)["completion"] == "from messages"
    assert read({**unverified, "messages": None}, "openr1_math", expert=True)["completion"] is None
    plain = {"problem": "1+1?", "solution": "It is 2.", "answer": "2"}
    assert read(plain, "openr1_math", expert=True)["completion"] == "It is 2."


def test_mmpr_takes_the_chosen_response_and_needs_no_answer(read: Any) -> None:
    row = {"image": "a.png", "question": "<image>\nCount.", "chosen": "One, two: 2", "rejected": "3"}
    record = read(row, "mmpr", expert=True)
    assert record["prompt"][0]["content"] == [IMAGE, text("\nCount.")]
    assert record["completion"] == "One, two: 2"


def test_trl_completions_are_text_or_messages(read: Any) -> None:
    for completion in ("4", [{"role": "assistant", "content": "4"}], [{"role": "assistant", "content": [text("4")]}]):
        row = {"prompt": [{"role": "user", "content": "2+2?"}], "completion": completion}
        assert read(row, expert=True)["completion"] == "4"


@pytest.mark.parametrize(
    ("row", "completion"),
    [
        ({"answer": "48/2 = <<48/2=24>>24 clips.\n#### 24"}, "48/2 = 24 clips.\n\\boxed{24}"),
        ({"answer": "a << b >> c, so $<<9*2=18>>1,018\n####  1,018 "}, "a << b >> c, so $1,018\n\\boxed{1,018}"),
        ({"answer": "It is 24. #### 24\n"}, "It is 24.\n\\boxed{24}"),
        ({"answer": "2", "solution": "1 + 1 is $\\boxed{2}$."}, "1 + 1 is $\\boxed{2}$."),
        ({"answer": "#### Step\nIt is <<1>> $\\boxed{2}$."}, "#### Step\nIt is <<1>> $\\boxed{2}$."),
        ({"answer": "<think>1 + 1</think><answer>2</answer>"}, "<think>1 + 1</think><answer>2</answer>"),
        ({"answer": "2", "solution": "1 + 1 is $\\boxed{2}$.", "completion": "It is 2."}, "It is 2."),
        ({"answer": "#### 24"}, None),
        ({"answer": "24", "solution": "24"}, None),
        ({"answer": "$\\boxed{24}$"}, None),
        ({"answer": " <answer>24</answer>\n"}, None),
        ({"answer": 24.0}, None),
        ({"answer": ["24"], "completion": []}, None),
    ],
)
def test_a_solution_with_its_reasoning_is_an_expert_response(
    read: Any, row: dict[str, Any], completion: str | None
) -> None:
    assert read({"question": "?", **row}, expert=True)["completion"] == completion


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("#### Step\nIt is $\\boxed{2}$.", "2"),
        ("It is\n##### 2", "It is\n##### 2"),
        ("16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 1,018", "1,018"),
        ("so it is $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("<answer> 3 </answer>", "3"),
        (142.0, "142"),
        (0.5, "0.5"),
        (["7"], "7"),
        (" \\sqrt{3} ", "\\sqrt{3}"),
        (None, ""),
    ],
)
def test_the_answer_is_found_inside_a_gold(gold: object, answer: str) -> None:
    assert final_answer(gold) == answer


@pytest.mark.parametrize(
    ("columns", "format_name"),
    [
        ("images problem answer", "trl"),
        ("prompt completion", "trl"),
        ("id question options image decoded_image answer solution", "trl"),
        ("problem solution answer uuid generations correctness_math_verify messages", "openr1_math"),
        ("image question chosen rejected", "mmpr"),
        ("id conversations answer image_urls", "mm_eureka"),
        ("id message answer", "mm_eureka"),
    ],
)
def test_auto_knows_a_format_by_its_columns(columns: str, format_name: str) -> None:
    assert detect_format(columns.split(), "x") == format_name


def test_unknown_and_missing_columns_say_what_was_seen() -> None:
    with pytest.raises(ValueError, match=r"^x: cannot tell the format from the columns label, text; .*data\.format"):
        detect_format(["text", "label"], "x")
    with pytest.raises(ValueError, match=r"^x: no column answer or solution, .* the columns are problem$"):
        check_columns(["problem"], "trl", "x", expert=False)
    with pytest.raises(ValueError, match=r"^x: no column completion or solution or answer, .* columns are problem$"):
        check_columns(["problem"], "trl", "x", expert=True)
    with pytest.raises(ValueError, match="mm_eureka has no expert responses; use trl"):
        check_columns(["prompt", "answer"], "mm_eureka", "x", expert=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "<image>?", "answer": "1"}, "1 <image> placeholders but 0 images"),
        ({"problem": "<image>?", "answer": "1", "images": ["a.png", "b.png"]}, "1 <image> placeholders but 2 images"),
        ({"problem": "?", "answer": "1", "images": ["c.png"]}, "no image file"),
        ({"problem": None, "answer": "1"}, "problem or question or prompt is empty or missing"),
        ({"problem": "?", "answer": ""}, "answer or solution is empty or missing"),
        ({"problem": "?", "answer": " "}, "the answer is ''; give one"),
        ({"problem": "?", "answer": float("nan")}, "the answer is 'nan'; give one"),
        ({"problem": "?", "answer": "None"}, "the answer is 'None'; give one"),
        ({"problem": "?", "answer": {"value": "2"}}, "the answer is \"{'value': '2'}\"; give one"),
        ({"problem": "?", "answer": "C", "options": ["1", "2"]}, "'C' is none of the 2 options; give a letter from A"),
        ({"problem": "?", "answer": "c", "options": ["1", "2"]}, "'c' is none of the 2 options"),
        ({"problem": "?", "answer": 2, "options": ["x", "y"]}, "'2' is none of the 2 options"),
        ({"problem": "?", "answer": "1", "options": ["x", "y"]}, "'1' is none of the 2 options"),
        ({"problem": "?", "answer": 1, "options": ["1", "0"]}, "the text of option A and the position of option B"),
        ({"problem": "?", "answer": "B", "options": {"B": "1", "A": "2"}}, "label them A, B, C"),
        ({"problem": "?", "answer": ["1", "2"]}, "the answer is a list of 2"),
        ({"problem": "?", "answer": "A", "options": "A. 1 B. 2"}, "give a list of texts"),
        ({"problem": 5, "answer": "1"}, "the problem is 5"),
        ({"prompt": [{"role": "assistant", "content": "4"}], "answer": "1"}, "must end with a user message"),
        ({"prompt": [{"from": "human", "value": "?"}], "answer": "1"}, "a message needs a role"),
        ({"prompt": [{"role": "user", "content": [{"type": "video"}]}], "answer": "1"}, "type text or image"),
    ],
)
def test_a_bad_row_is_named_in_one_line(read: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        read({"id": "p7", **row})
    assert str(error.value).startswith("x.jsonl: record 8 (id p7): ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_content_id_depends_on_the_content_and_not_on_the_folder(read: Any, tmp_path: Path) -> None:
    row = {"problem": "<image>?", "answer": "1", "images": ["a.png"]}
    first = read(row)["problem_id"]
    assert read(dict(row), instruction="boxed")["problem_id"] == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes((tmp_path / "a.png").read_bytes())
    moved = read_row(row, 0, format_name="trl", source="y", folder=elsewhere, instruction="none", expert=False)
    assert moved["problem_id"] == first
    for change in ({"answer": "2"}, {"problem": "<image>!"}, {"images": ["b.png"]}):
        assert read({**row, **change})["problem_id"] != first
