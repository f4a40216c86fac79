"""A row of each dataset layout becomes the same record, and a bad row gives a one-line error."""

import base64
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

    def read(row: dict[str, Any], format_name: str = "trl", instruction: str = "none", **settings: Any) -> Any:
        known = {"source": "x.jsonl", "folder": tmp_path, "instruction": instruction, "expert": False}
        return read_row(row, 7, format_name=format_name, **known | settings)

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
        record = read({**row, "id": "0", "answer": "$30^\\circ$"})
        assert record["prompt"] == [
            {"role": "system", "content": [text("Be brief.")]},
            {"role": "user", "content": [IMAGE, text("Which angle?")]},
        ]
        assert (names(record), record["solution"], record["problem_id"]) == (["a.png"], "$30^\\circ$", "0")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("12 x 4 = <answer>48</answer>", "48"),
        ("So it is $\\boxed{48}$.", "48"),
        ("12 x 4 = <<12*4=48>>48\n#### 48", "48"),
        ("<think>12 x 4</think>The answer is 48.", "48"),
        ("48", "48"),
    ],
)
def test_sharegpt_conversations_give_prompt_answer_and_expert_response(read: Any, reply: str, answer: str) -> None:
    turns = [("system", "Be brief."), ("human", "Hello"), ("gpt", "Hi."), ("human", "<image>Find x."), ("gpt", reply)]
    record = read({"conversations": [{"from": who, "value": said} for who, said in turns], "image": "a.png"})
    assert [message["role"] for message in record["prompt"]] == ["system", "user", "assistant", "user"]
    assert record["prompt"][-1]["content"] == [IMAGE, text("Find x.")]
    assert (record["solution"], names(record), record["completion"]) == (answer, ["a.png"], None)
    roles = {"human": "user", "gpt": "assistant"}
    openai = {"messages": [{"role": roles.get(who, who), "content": said} for who, said in turns], "images": ["a.png"]}
    assert read(openai) == record
    assert read({"messages": json.dumps(openai["messages"]), "images": ["a.png"]}) == record
    assert read(openai, expert=True)["completion"] == reply
    assert read({**openai, "answer": "7"})["solution"] == "7"  # the column counts, whatever the reply says


def test_a_system_prompt_in_a_column_of_its_own_comes_first(read: Any) -> None:
    record = read({"system": "Be brief.", "conversations": [{"from": "human", "value": "1+1?"}], "answer": "2"})
    assert record["prompt"][0] == {"role": "system", "content": [text("Be brief.")]}


def test_images_inside_openai_messages_are_kept(read: Any, tmp_path: Path) -> None:
    encoded = "data:image/png;base64," + base64.b64encode((tmp_path / "b.png").read_bytes()).decode()
    for part in (
        {"type": "image_url", "image_url": {"url": encoded}},
        {"type": "input_image", "image_url": encoded},
        {"type": "image", "base64": encoded},
        {"type": "image", "image": {"bytes": (tmp_path / "b.png").read_bytes(), "path": None}},
    ):
        record = read({"messages": [{"role": "user", "content": [part, text("Find x.")]}], "answer": "3"})
        assert record["prompt"][0]["content"] == [IMAGE, text("Find x.")]
        assert record["images"][0]["bytes"] == (tmp_path / "b.png").read_bytes()


def test_verl_rows_give_their_ground_truth(read: Any, tmp_path: Path) -> None:
    row = {
        "data_source": "hiyouga/geometry3k",
        "prompt": [{"role": "user", "content": "<image>Find x."}],
        "images": [{"bytes": (tmp_path / "a.png").read_bytes(), "path": None}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "48"},
        "extra_info": {"index": 0, "split": "train"},
    }
    record = read(row)
    assert (record["solution"], len(record["images"])) == ("48", 1)
    with pytest.raises(ValueError, match=r"reward_model\.ground_truth is empty or missing"):
        read({**row, "reward_model": {"style": "rule", "ground_truth": ""}})


def test_columns_under_other_names_are_those_that_data_columns_names(read: Any) -> None:
    row = {"q": "Which is larger?", "problem": "not this one", "gold": {"text": "B"}, "one": "a.png", "two": ["b.png"]}
    row |= {"alternatives": ["x", "y"], "key": 7, "three": None, "why": "y is larger", "image": "gone.png"}
    columns = {"problem": "q", "answer": "gold.text", "images": ["one", "two", "three"], "options": "alternatives"}
    record = read(row, named=columns | {"problem_id": "key", "completion": "why"}, expert=True)
    assert record["prompt"][0]["content"] == [IMAGE, IMAGE, text("Which is larger?\nChoices:\n(A) x\n(B) y")]
    assert (names(record), record["solution"], record["problem_id"]) == (["a.png", "b.png"], "B", "7")
    assert record["completion"] == "y is larger"
    assert read({"problem": "?", "answer": "1", "pic": "a.png"}, named={"images": []})["images"] == []


def test_options_may_stand_in_lettered_columns(read: Any) -> None:
    row = {"question": "Which day?", "A": "Monday", "B": "Friday", "C": "", "D": None, "answer": "B", "image": "a.png"}
    assert (read(row)["choices"], read(row)["solution"]) == (["Monday", "Friday"], "B")


def test_lists_that_are_stored_as_text_are_read(read: Any) -> None:
    for options in ('["x", "y"]', "['x', 'y']"):
        row = {"question": "Which?", "options": options, "answer": "A", "images": '["a.png", "b.png"]'}
        assert (read(row)["choices"], names(read(row))) == (["x", "y"], ["a.png", "b.png"])


def test_the_instruction_ends_the_last_question(read: Any) -> None:
    row = {"prompt": "<image>Find x.", "images": ["a.png"], "answer": "3"}
    content = read(row, "trl", "boxed")["prompt"][-1]["content"]
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
        ("id conversations answer image_urls", "trl"),
        ("id message answer", "trl"),
        ("messages images", "trl"),
        ("conversations", "trl"),
        ("data_source prompt reward_model extra_info images", "trl"),
    ],
)
def test_auto_knows_a_format_by_its_columns(columns: str, format_name: str) -> None:
    assert detect_format(columns.split(), "x") == format_name


def test_unknown_and_missing_columns_say_what_was_seen() -> None:
    with pytest.raises(ValueError, match=r"^x: cannot tell the format from the columns label, text; .*data\.format"):
        detect_format(["text", "label"], "x")
    with pytest.raises(ValueError, match=r"^x: no column answer or solution or .* the columns are problem; name yours"):
        check_columns(["problem"], "trl", "x", expert=False)
    with pytest.raises(ValueError, match=r"^x: no column completion or solution or answer or .* columns are problem;"):
        check_columns(["problem"], "trl", "x", expert=True)
    named = r"; name yours, such as data\.columns: \{problem: query_text, answer: gold, images: pic\}, or"
    with pytest.raises(ValueError, match=named):
        detect_format(["pic", "gold", "query_text", "level"], "x")
    with pytest.raises(ValueError, match=r"; name yours, such as data\.columns: \{answer: label\}, or"):
        detect_format(["image", "question", "label"], "x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "<image>?", "answer": "1"}, "1 <image> placeholders but 0 images"),
        ({"problem": "<image>?", "answer": "1", "images": ["a.png", "b.png"]}, "1 <image> placeholders but 2 images"),
        ({"problem": "?", "answer": "1", "images": ["c.png"]}, "no image file"),
        ({"problem": None, "answer": "1"}, "problem is empty or missing"),
        ({"problem": "?", "answer": ""}, "answer is empty or missing"),
        ({"problem": "?", "answer": " "}, "answer is empty or missing"),
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
        ({"prompt": [{"who": "human", "value": "?"}], "answer": "1"}, "a message needs role and content, or from and"),
        ({"messages": [{"from": "tool", "value": "?"}], "answer": "1"}, "a message is from 'tool'; it must be system"),
        ({"messages": [{"from": "gpt", "value": "4"}]}, "must end with a user message"),
        ({"messages": '[{"from": "human", "value"'}, "the messages are text that is not valid JSON"),
        ({"messages": [{"from": "human", "value": "?"}]}, "answer or solution or reward_model.ground_truth is empty"),
        (
            {"messages": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Let me see."}]},
            "the assistant's reply 'Let me see.' does not state one",
        ),
        (
            {"problem": "?", "answer": "1", "pic": "a.png"},
            "column pic holds an image that would be ignored; set data.co",
        ),
        (
            {"problem": "?", "answer": "1", "x": [{"bytes": b"\x89PNG"}]},
            "column x holds an image that would be ignored",
        ),
        ({"problem": "?", "answer": "1", "x": b"\xff\xd8"}, "column x holds an image that would be ignored"),
        ({"problem": "?", "answer": "1", "x": "data:image/png;base64,iVBO"}, "column x holds an image that would"),
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


def test_alpacas_instruction_and_input_are_one_problem(read: Any) -> None:
    row = {"instruction": "Add.", "input": "40 and 8", "output": "It is \\boxed{48}.", "system": "Be brief."}
    record = read(row | {"history": [["Hello", "Hello."]]})
    said = [(message["role"], message["content"][0]["text"]) for message in record["prompt"]]
    assert said == [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello."), ("user", "Add.\n40 and 8")]
    assert record["solution"] == "48"
    assert read(row, expert=True)["completion"] == "It is \\boxed{48}."
    assert read(row | {"input": ""})["prompt"][-1]["content"] == [text("Add.")]
    assert read(row | {"answer": "49"})["solution"] == "49"  # a column of its own counts before the reply
    assert read(row | {"question": "1+1?"} | {"answer": "2"})["prompt"][-1]["content"] == [text("1+1?")]


def test_what_names_an_answer_of_alpacas_rows_leaves_the_problem_whole() -> None:
    with pytest.raises(ValueError, match=r"data\.columns: \{answer: response\}"):
        detect_format(["instruction", "input", "response"], "x.jsonl")


@pytest.mark.parametrize("problem", ["", "  \n", None, []])
def test_a_problem_without_a_word_is_empty(problem: Any, read: Any) -> None:
    with pytest.raises(ValueError, match="record 8: problem is empty or missing"):
        read({"problem": problem, "answer": "2"})


def test_half_of_an_alpaca_problem_is_refused(read: Any) -> None:
    row = {"instruction": "Add.", "input": "40 and 8", "output": "48"}
    named = {"problem": "instruction", "answer": "output"}
    with pytest.raises(ValueError, match=r"instruction and input are one problem; leave data\.columns\.problem out"):
        read(row, named=named)
    assert read(row | {"input": ""}, named=named)["solution"] == "48"
    assert detect_format(["answer", "messages"], "x") == "trl"
    with pytest.raises(ValueError, match="record 8: messages is empty"):
        read({"instruction": "", "output": ""})
    with pytest.raises(ValueError, match="must end with a user message"):
        read({"instruction": "", "output": "48"})
    with pytest.raises(ValueError, match="history is 'Hello'; give a list of pairs"):
        read(row | {"history": "Hello"})
