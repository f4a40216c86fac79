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


class _LeftOut:
    """Adds the records that cannot be used to a list of reasons, up to `limit` of them."""

    def __init__(self, limit: int, reasons: list[str] | None) -> None:
        self.limit, self.count, self.reasons = limit, 0, [] if reasons is None else reasons

    def add(self, reason: str) -> None:
        """Raise ValueError with the reason if this record is one too many."""
        self.count += 1
        if self.count > self.limit:
            raise ValueError(f"{reason} (data.skip_bad_records={self.limit} were left out)" if self.limit else reason)
        logger.warning("left out: %s", reason)
        self.reasons.append(reason)


def load_problems(args: DataArguments, left_out: list[str] | None = None) -> Dataset:
    """Problems with the columns prompt, images, solution, choices, problem_id and expert.

    - `prompt`: messages. Text-only rows have string contents; rows with images have a list of parts with one
      {"type": "image"} per image.
    - `images`: RGB PIL images, decoded when the row is accessed; [] for text-only rows.
    - `choices`: the option texts if the solution is an option's letter, else [].
    - `expert`: a correct response for problems of the drawn world, else None. (TRL would append a column named
      `completion` to the prompt.)

    Raises ValueError, in one line, for missing columns, files or answers, placeholders that do not match the images,
    and answers that the grader does not find equal to themselves. Of the records that this concerns, up to
    `data.skip_bad_records` are left out instead, and the reasons are added to `left_out`.

    >>> load_problems(DataArguments("geo.jsonl"))[0]["solution"]
    '48'
    """
    bad = _LeftOut(args.skip_bad_records, left_out)
    dataset, indices = _load(args, False, bad)
    good = _with_gradable_solutions(dataset, indices, args.source, bad)
    if len(good) < len(dataset):
        dataset = dataset.select(good)
    return dataset.rename_column("completion", "expert").with_transform(_decode)


def load_demonstrations(args: DataArguments, left_out: list[str] | None = None) -> Dataset:
    """Expert rows for the offline start: the columns of `load_problems`, with the response in `completion`.

    Rows without a response that is known to be correct are left out and counted in the log; `solution` may be empty.
    A worked solution counts as a response, so GSM8K and MATH need no changes.
    """
    dataset, _ = _load(args, True, _LeftOut(args.skip_bad_records, left_out))
    keep = [i for i, completion in enumerate(dataset["completion"]) if completion]
    if not keep:
        raise ValueError(
            f"{args.source}: none of the {len(dataset)} rows has an expert response; give one in completion, or a "
            "solution with its reasoning in solution or answer (docs/data.md)"
        )
    if len(keep) < len(dataset):
        logger.warning("%s: %d of %d rows have no expert response", args.source, len(dataset) - len(keep), len(dataset))
        dataset = dataset.select(keep)
    return dataset.with_transform(_decode)


def record_name(row: Row, index: int, source: str) -> str:
    """How errors name a record, for example "geo.jsonl: record 12 (id 77)"."""
    return f"{source}: record {index + 1} (id {row['problem_id']})"


def _load(args: DataArguments, expert: bool, bad: _LeftOut) -> tuple[Dataset, list[int]]:
    """The rows with the columns of FEATURES, and images as stored; and the place of each among the records."""
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
        _read_or_skip,
        bad=bad,
        format_name=format_name,
        source=args.source,
        folder=Path(args.media_dir) if args.media_dir else folder,
        instruction=instruction,
        expert=expert,
        allow_outside=args.allow_outside_media_dir,
    )
    if isinstance(rows, Dataset):
        # The cache of `map` is off because its key would miss a change of our readers.
        dataset = rows.select(range(min(args.limit or len(rows), len(rows)))).map(
            read, with_indices=True, remove_columns=rows.column_names, features=FEATURES,
            load_from_cache_file=False, writer_batch_size=100, desc="Reading records",
        )  # fmt: skip
    else:
        dataset = Dataset.from_list([read(row, i) for i, row in enumerate(rows[: args.limit])], features=FEATURES)
    for column in args.keep:
        dataset = _with_column(dataset, rows, column, args.source)
    indices = [i for i, problem_id in enumerate(dataset["problem_id"]) if problem_id is not None]
    if not indices:
        raise ValueError(f"{args.source}: none of the {len(dataset)} records can be used")
    return _with_unique_ids(dataset if len(indices) == len(dataset) else dataset.select(indices)), indices


def _with_column(dataset: Dataset, rows: list[Row] | Dataset, column: str, source: str) -> Dataset:
    """The rows with one more column of the records, None where a record lacks it."""
    names = rows.column_names if isinstance(rows, Dataset) else sorted({name for row in rows for name in row})
    if column not in names or column in [*dataset.column_names, "expert"]:
        free = [name for name in names if name not in [*dataset.column_names, "expert"]]
        raise ValueError(f"data.keep={column} must be another column of {source}: {', '.join(free) or 'it has none'}")
    values = rows[column] if isinstance(rows, Dataset) else [row.get(column) for row in rows]
    try:
        return dataset.add_column(column, list(values)[: len(dataset)])
    except (ValueError, TypeError) as error:  # of pyarrow
        reason = " ".join(str(error).split())
        raise ValueError(f"data.keep={column}: its values in {source} are of different types ({reason})") from None


def _read_or_skip(row: Row, index: int, bad: _LeftOut, **settings: Any) -> Row:
    """The row as `read_row` gives it; one that cannot be used goes to `bad`, and has no problem_id here."""
    try:
        return read_row(row, index, **settings)
    except ValueError as error:
        bad.add(str(error))
        return dict.fromkeys(FEATURES)


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
                    f"{path}: record {i + 1} is a {type(row).__name__}; each record must be an object, {{...}}"
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
    if not path.exists():  # from the hub: its files are in the cache
        return dataset, Path(datasets.config.HF_CACHE_HOME)
    return dataset, path.parent if path.suffix == ".parquet" else path


def _with_unique_ids(dataset: Dataset) -> Dataset:
    """Append #2, #3, ... to repeated ids, because run records and statistics are keyed by problem_id."""
    given = list(dataset["problem_id"])
    taken, ids = set(given), list[str]()
    if len(taken) == len(given):
        return dataset
    repeats: Counter[str] = Counter()
    for problem_id in given:
        repeats[problem_id] += 1
        own = problem_id
        while repeats[problem_id] > 1 and own in taken:  # "a#2" may be the id of another record
            own = f"{problem_id}#{repeats[problem_id]}"
            repeats[problem_id] += own in taken
        taken.add(own)
        ids.append(own)
    return dataset.remove_columns("problem_id").add_column("problem_id", ids)


def _with_gradable_solutions(dataset: Dataset, indices: list[int], source: str, bad: _LeftOut) -> list[int]:
    """The rows whose answer is graded correct when given as a response; no response could earn another's reward."""
    solutions, ids = list(dataset["solution"]), list(dataset["problem_id"])
    distinct = list(dict.fromkeys(solutions))

    def grade(indices: range) -> list[str]:
        share = [distinct[index] for index in indices]
        return [verdict.status for verdict in grade_all([Item(f"\\boxed{{{s}}}", s) for s in share])]

    statuses = dict(zip(distinct, divided(len(distinct), grade), strict=True))
    good = []
    for i, solution in enumerate(solutions):
        if statuses[solution] == "correct":
            good.append(i)
            continue
        name = record_name({"problem_id": ids[i]}, indices[i], source)
        bad.add(
            f"{name}: the answer {solution!r:.200} cannot be parsed ({statuses[solution]}); "
            "give a number, a LaTeX expression with balanced braces, or an option letter"
        )
    if not good:
        raise ValueError(f"{source}: no record has an answer that can be graded")
    return good


def _decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "images" in batch:
        batch["images"] = [[open_image(image) for image in images] for images in batch["images"]]
    if "prompt" in batch:
        batch["prompt"] = [chat_messages(messages) for messages in batch["prompt"]]
    return batch
