"""Load the rows of any supported dataset with TRL's columns: prompt, images, solution, choices, problem_id.

`load_problems` and `load_demonstrations` read every row and check its text. `rlfr_mm.data.processor.check_prompts`
then decodes every image and counts tokens. A dataset that passes both cannot stop a training run later.
"""

import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, Features, List, Value

from rlfr_mm.config import QUICKSTART, DataArguments
from rlfr_mm.data.images import open_image
from rlfr_mm.data.prompts import chat_messages
from rlfr_mm.data.readers import Row, check_columns, detect_format, read_row
from rlfr_mm.data.shares import divided
from rlfr_mm.files import read_json, read_json_lines
from rlfr_mm.grading import Item, grade_all
from rlfr_mm.precheck import check_data
from rlfr_mm.quickstart import world

FEATURES = Features(
    {
        "prompt": List({"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}),
        "images": List(datasets.Image(decode=False)),
        "solution": Value("string"),
        "choices": List(Value("string")),
        "problem_id": Value("string"),
        "completion": Value("string"),
    }
)
QUICKSTART_ROWS = 1024  # rows of the drawn world if data.limit is not set

logger = logging.getLogger(__name__)


def load_problems(args: DataArguments) -> Dataset:
    """Problems with the columns prompt, images, solution, choices, problem_id and expert.

    - `prompt`: messages. Text-only rows have string contents; rows with images have a list of parts with one
      {"type": "image"} per image.
    - `images`: RGB PIL images, decoded when the row is accessed; [] for text-only rows.
    - `choices`: the option texts if the solution is an option's letter, else [].
    - `expert`: a correct response for problems of the drawn world, else None. (TRL would append a column named
      `completion` to the prompt.)

    Raises ValueError, in one line, for missing columns, files or answers, placeholders that do not match the images,
    and answers that the grader does not find equal to themselves.

    >>> load_problems(DataArguments("geo.jsonl"))[0]["solution"]
    '48'
    """
    dataset = _load(args, expert=False).rename_column("completion", "expert")
    _check_solutions(dataset, args.source)
    return dataset.with_transform(_decode)


def load_demonstrations(args: DataArguments) -> Dataset:
    """Expert rows for the offline start: the columns of `load_problems`, with the response in `completion`.

    Rows without a response that is known to be correct are left out and counted in the log; `solution` may be empty.
    """
    dataset = _load(args, expert=True)
    keep = [i for i, completion in enumerate(dataset["completion"]) if completion]
    if not keep:
        raise ValueError(f"{args.source}: none of the {len(dataset)} rows has an expert response")
    if len(keep) < len(dataset):
        logger.warning("%s: %d of %d rows have no expert response", args.source, len(dataset) - len(keep), len(dataset))
        dataset = dataset.select(keep)
    return dataset.with_transform(_decode)


def record_name(row: Row, index: int, source: str) -> str:
    """How errors name a record, for example "geo.jsonl: record 12 (id 77)"."""
    return f"{source}: record {index} (id {row['problem_id']})"


def _load(args: DataArguments, expert: bool) -> Dataset:
    """The rows with the columns of FEATURES, and images as stored."""
    instruction, format_name = args.instruction, str(args.format)
    rows: list[Row] | Dataset
    if args.source == QUICKSTART:
        # The embedded policy was warmed up on bare questions, and every drawn problem has an expert response.
        rows, folder = world.rows(args.limit or QUICKSTART_ROWS, args.split, args.levels, args.seed), Path()
        instruction, format_name, expert = "none", "trl", True
    else:
        rows, folder = _rows(args)
    if len(rows) == 0:
        raise ValueError(f"{args.source} has no rows; give a file or split with at least one record")
    columns = rows.column_names if isinstance(rows, Dataset) else {column for row in rows for column in row}
    format_name = detect_format(columns, args.source) if format_name == "auto" else format_name
    check_columns(columns, format_name, args.source, expert)
    read = partial(
        read_row,
        format_name=format_name,
        source=args.source,
        folder=Path(args.media_dir) if args.media_dir else folder,
        instruction=instruction,
        expert=expert,
    )
    if isinstance(rows, Dataset):
        # The cache of `map` is off because its key would miss a change of our readers.
        dataset = rows.select(range(min(args.limit or len(rows), len(rows)))).map(
            read, with_indices=True, remove_columns=rows.column_names, features=FEATURES,
            load_from_cache_file=False, writer_batch_size=100, desc="Reading records",
        )  # fmt: skip
    else:
        dataset = Dataset.from_list([read(row, i) for i, row in enumerate(rows[: args.limit])], features=FEATURES)
    return _with_unique_ids(dataset)


def _rows(args: DataArguments) -> tuple[list[Row] | Dataset, Path]:
    """The rows of a file, folder or hub dataset, and the folder that relative image paths start from."""
    check_data(args)
    path = Path(args.source)
    if path.suffix in (".json", ".jsonl"):
        rows = read_json(path) if path.suffix == ".json" else read_json_lines(path)
        if not isinstance(rows, list):
            raise ValueError(f"{path} holds a {type(rows).__name__}; give a list of records, [{{...}}, ...]")
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise ValueError(
                    f"{path}: record {i} is a {type(row).__name__}; each record must be an object, {{...}}"
                )
        return rows, path.parent
    try:
        if path.suffix == ".parquet":
            dataset = Dataset.from_parquet(str(path))
        elif (path / "state.json").is_file():
            dataset = datasets.load_from_disk(str(path))
        elif (path / "dataset_dict.json").is_file():
            dataset = datasets.load_from_disk(str(path))[args.split]
        else:
            dataset = datasets.load_dataset(args.source, args.name, split=args.split, revision=args.revision)
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot load {args.source}, split {args.split}: {' '.join(str(error).split())}") from None
    stored = datasets.Image(decode=False)
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, stored)
        elif isinstance(feature, List) and isinstance(feature.feature, datasets.Image):
            dataset = dataset.cast_column(column, List(stored))
    return dataset, path.parent if path.suffix == ".parquet" else path


def _with_unique_ids(dataset: Dataset) -> Dataset:
    """Append #2, #3, ... to repeated ids, because run records and statistics are keyed by problem_id."""
    seen: Counter[str] = Counter()
    ids = []
    for problem_id in dataset["problem_id"]:
        seen[problem_id] += 1
        ids.append(problem_id if seen[problem_id] == 1 else f"{problem_id}#{seen[problem_id]}")
    return dataset if len(seen) == len(ids) else dataset.remove_columns("problem_id").add_column("problem_id", ids)


def _check_solutions(dataset: Dataset, source: str) -> None:
    """Require that each answer is graded correct when given as a response; otherwise none could earn the reward."""
    first: dict[str, int] = {}
    for i, solution in enumerate(dataset["solution"]):
        first.setdefault(solution, i)
    solutions = list(first.items())

    def check(indices: range) -> list[bool]:
        share = [solutions[index] for index in indices]
        verdicts = grade_all([Item(f"\\boxed{{{solution}}}", solution) for solution, _ in share])
        for (solution, i), verdict in zip(share, verdicts, strict=True):
            if not verdict.correct:
                raise ValueError(
                    f"{record_name(dataset[i], i, source)}: the answer {solution!r} cannot be parsed "
                    f"({verdict.status}); give a number, a LaTeX expression with balanced braces, or an option letter"
                )
        return [verdict.correct for verdict in verdicts]

    divided(len(solutions), check)


def _decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "images" in batch:
        batch["images"] = [[open_image(image) for image in images] for images in batch["images"]]
    if "prompt" in batch:
        batch["prompt"] = [chat_messages(messages) for messages in batch["prompt"]]
    return batch
