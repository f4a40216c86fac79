"""Load the rows of any supported dataset with TRL's columns: prompt, images, solution, choices, problem_id.

`load_problems` and `load_demonstrations` read every row and check its text. `rlfr_mm.data.processor.check_prompts`
then decodes every image and counts tokens. A dataset that passes both cannot stop a training run later.
"""

import csv
import io
import logging
from collections import Counter
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
from datasets import Dataset, Features, IterableDataset, List, Value
from PIL import Image

from rlfr_mm.config import QUICKSTART, DataArguments
from rlfr_mm.data.conversations import Row
from rlfr_mm.data.dataset_folder import cached_folder
from rlfr_mm.data.images import open_image
from rlfr_mm.data.prompts import chat_messages
from rlfr_mm.data.readers import check_columns, detect_format, read_row, renamed_columns
from rlfr_mm.data.shares import divided
from rlfr_mm.files import BadFile, parsed_lines, read_bytes, read_json
from rlfr_mm.grading import Item, grade_all
from rlfr_mm.precheck import check_data, data_kind
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


class LeftOut:
    """The records of one dataset that cannot be used: one reason each, up to `limit` of them.

    `load_problems` begins it, and `rlfr_mm.data.processor.check_prompts` goes on with it.
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.reasons: list[str] = []
        self.places: list[int] = []  # among the records of the source, counted from 0: of each row that is left

    def add(self, reason: str) -> None:
        """Raise ValueError with the reason if this record is one too many."""
        self.check_count(len(self.reasons) + 1, reason)
        logger.warning("left out: %s", reason)
        self.reasons.append(reason)

    def check_count(self, count: int, reason: str) -> None:
        """Raise ValueError with the last reason if `count` records are too many."""
        if count > self.limit:
            raise ValueError(f"{reason} (data.skip_bad_records={self.limit} were left out)" if self.limit else reason)


def load_problems(args: DataArguments, left_out: LeftOut | None = None) -> Dataset:
    """Problems with the columns prompt, images, solution, choices, problem_id and expert.

    - `prompt`: messages. Text-only rows have string contents; rows with images have a list of parts with one
      {"type": "image"} per image.
    - `images`: RGB PIL images, decoded when the row is accessed; [] for text-only rows.
    - `choices`: the option texts if the solution is an option's letter, else [].
    - `expert`: a correct response for problems of the drawn world, else None. (TRL would append a column named
      `completion` to the prompt.)

    Raises ValueError, in one line, for lines that are not JSON, missing columns, files or answers, placeholders that do
    not match the images, and answers that the grader does not find equal to themselves. Of the records that this
    concerns, up to `data.skip_bad_records` are left out instead, and `left_out` says why.

    >>> load_problems(DataArguments("geo.jsonl"))[0]["solution"]
    '48'
    """
    left_out = left_out or LeftOut(args.skip_bad_records)
    dataset = _load(args, False, left_out)
    good = _with_gradable_solutions(dataset, args.source, left_out)
    if len(good) < len(dataset):
        dataset = dataset.select(good)
        left_out.places = [left_out.places[i] for i in good]
    return dataset.rename_column("completion", "expert").with_transform(_decode)


def load_demonstrations(args: DataArguments, left_out: LeftOut | None = None) -> Dataset:
    """Expert rows for the offline start: the columns of `load_problems`, with the response in `completion`.

    Rows without a response that is known to be correct are left out and counted in the log; `solution` may be empty.
    A worked solution counts as a response, so GSM8K and MATH need no changes.
    """
    left_out = left_out or LeftOut(args.skip_bad_records)
    dataset = _load(args, True, left_out)
    keep = [i for i, completion in enumerate(dataset["completion"]) if completion]
    if not keep:
        raise ValueError(
            f"{args.source}: none of the {len(dataset)} rows has an expert response; give one in completion, or a "
            "solution with its reasoning in solution or answer (docs/data.md)"
        )
    if len(keep) < len(dataset):
        logger.warning("%s: %d of %d rows have no expert response", args.source, len(dataset) - len(keep), len(dataset))
        dataset = dataset.select(keep)
        left_out.places = [left_out.places[i] for i in keep]
    return dataset.with_transform(_decode)


def record_name(row: Row, index: int, source: str) -> str:
    """How errors name a record, for example "geo.jsonl: record 12 (id 77)"."""
    return f"{source}: record {index + 1} (id {row['problem_id']})"


def _load(args: DataArguments, expert: bool, left_out: LeftOut) -> Dataset:
    """The rows with the columns of FEATURES, and images as stored; `left_out` gets their places."""
    instruction, format_name = args.instruction, str(args.format)
    rows: list[Row | ValueError] | Dataset
    if args.source == QUICKSTART:
        # The embedded policy was warmed up on bare questions, and every drawn problem has an expert response.
        rules, folder = world.Rules(args.operations, args.max_value), Path()
        rows = [*world.rows(args.limit or QUICKSTART_ROWS, args.split, args.levels, args.seed, rules)]
        instruction, format_name, expert = "none", "trl", True
    else:
        rows, folder = _rows(args)
    if len(rows) == 0:
        raise ValueError(f"{args.source} has no rows; give a file or split with at least one record")
    seen = rows.column_names if isinstance(rows, Dataset) else _columns(rows)
    columns = renamed_columns(seen, args.columns, args.source)
    format_name = detect_format(columns, args.source) if format_name == "auto" else format_name
    check_columns(columns, format_name, args.source, expert)
    read = partial(
        _read_or_skip,
        left_out=left_out,
        format_name=format_name,
        source=args.source,
        folder=Path(args.media_dir) if args.media_dir else folder,
        instruction=instruction,
        expert=expert,
        allow_outside=args.allow_outside_media_dir,
        named=args.columns,
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
    left_out.places = [i for i, problem_id in enumerate(dataset["problem_id"]) if problem_id is not None]
    if not left_out.places:
        raise ValueError(f"{args.source}: none of the {len(dataset)} records can be used")
    return _with_unique_ids(dataset if len(left_out.places) == len(dataset) else dataset.select(left_out.places))


def _with_column(dataset: Dataset, rows: list[Row | ValueError] | Dataset, column: str, source: str) -> Dataset:
    """The rows with one more column of the records, None where a record lacks it."""
    names = rows.column_names if isinstance(rows, Dataset) else sorted(_columns(rows))
    if column not in names or column in [*dataset.column_names, "expert"]:
        free = [name for name in names if name not in [*dataset.column_names, "expert"]]
        raise ValueError(f"data.keep={column} must be another column of {source}: {', '.join(free) or 'it has none'}")
    values = (
        rows[column]
        if isinstance(rows, Dataset)
        else [None if isinstance(row, ValueError) else row.get(column) for row in rows]
    )
    try:
        return dataset.add_column(column, list(values)[: len(dataset)])
    except (ValueError, TypeError) as error:  # of pyarrow
        reason = " ".join(str(error).split())
        raise ValueError(f"data.keep={column}: its values in {source} are of different types ({reason})") from None


def _columns(rows: list[Row | ValueError]) -> set[str]:
    """The columns of the rows that could be read; if none could be, the first one's ValueError."""
    read = [row for row in rows if not isinstance(row, ValueError)]
    if not read and isinstance(rows[0], ValueError):
        raise rows[0]
    return {column for row in read for column in row}


def _read_or_skip(row: Row | ValueError, index: int, left_out: LeftOut, **settings: Any) -> Row:
    """The row as `read_row` gives it; one that cannot be used goes to `left_out`, and has no problem_id here."""
    try:
        if isinstance(row, ValueError):
            raise row
        return read_row(row, index, **settings)
    except ValueError as error:
        left_out.add(str(error))
        return dict.fromkeys(FEATURES)


def _rows(args: DataArguments) -> tuple[list[Row | ValueError] | Dataset, Path]:
    """The rows of a file, folder or hub dataset, and the folder that relative image paths start from."""
    check_data(args)
    path = Path(args.source)
    if (kind := data_kind(path)) in (".json", ".jsonl", ".csv", ".tsv"):
        return _file_rows(path, kind), path.parent
    try:
        dataset = _dataset(args, path)
        stored = datasets.Image(decode=False)
        for column, feature in (dataset.features or {}).items():
            if isinstance(feature, datasets.Image):
                dataset = dataset.cast_column(column, stored)
            elif isinstance(feature, List) and isinstance(feature.feature, datasets.Image):
                dataset = dataset.cast_column(column, List(stored))
        whole = list(dataset.take(args.limit or 0)) if isinstance(dataset, IterableDataset) else dataset
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot load {args.source}, split {args.split}: {' '.join(str(error).split())}") from None
    if not path.exists():  # from the hub: its files are in the cache
        return whole, Path(datasets.config.HF_CACHE_HOME)
    return whole, path.parent if kind == ".parquet" else path


def _dataset(args: DataArguments, path: Path) -> Any:
    """What `datasets` makes of a Parquet file, a folder or a hub id: a Dataset, or with data.streaming an iterable."""
    if data_kind(path) == ".parquet":
        pyarrow.parquet.read_schema(path)  # says in one line what is wrong with the file; `datasets` logs another
        return Dataset.from_parquet(str(path))
    if not ((path / "state.json").is_file() or (path / "dataset_dict.json").is_file()):
        source = cached_folder(path) if path.is_dir() else {"path": args.source}
        asked = {"name": args.name, "split": args.split, "revision": args.revision, "streaming": args.streaming}
        return datasets.load_dataset(**source, **asked)
    if args.streaming:
        raise ValueError("it is on this disk: leave data.streaming out")
    saved = datasets.load_from_disk(str(path))
    if isinstance(saved, Dataset):
        return saved
    if args.split not in saved:
        raise ValueError(f"there is no such split; set data.split to one of {', '.join(saved)}")
    return saved[args.split]


def _file_rows(path: Path, kind: str) -> list[Row | ValueError]:
    """The records of a JSON, JSON Lines or CSV file; in place of one that is not an object, an error that names it."""
    rows = _json_rows(path) if kind == ".json" else parsed_lines(path) if kind == ".jsonl" else _csv_rows(path)
    return [
        row
        if isinstance(row, dict | ValueError)
        else ValueError(f"{path}: record {i + 1} is a {type(row).__name__}; each record must be an object, {{...}}")
        for i, row in enumerate(rows)
    ]


def _json_rows(path: Path) -> list[Any]:
    """The records of a .json file: a list, or one object per line, as many such files hold."""
    try:
        rows = read_json(path)
    except BadFile:
        if not read_bytes(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            raise
        return list(parsed_lines(path))
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a list of records: write [{{...}}, ...], or one record per line")
    return rows


def _csv_rows(path: Path) -> list[Row]:
    """The records of a .csv or .tsv file, whose first line names the columns; every cell is text."""
    csv.field_size_limit(2**31 - 1)  # images in base64
    try:
        text = read_bytes(path).decode("utf-8-sig")
        head = text.partition("\n")[0]  # where the comma is the decimal point, spreadsheets write semicolons
        delimiter = "\t" if data_kind(path) == ".tsv" else ";" if ";" in head and "," not in head else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns, rows = reader.fieldnames or [], list(reader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a {data_kind(path)} file in UTF-8: {error}") from None
    except csv.Error as error:
        raise ValueError(
            f"{path} is not a {data_kind(path)} file: {error}; a cell may open a quote and not close it"
        ) from None
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise ValueError(f"{path} has the column {twice[0]} more than once; give each its own name")
    for i, row in enumerate(rows):
        if None in row:
            raise ValueError(f"{path}: record {i + 1} has more cells than the first line has columns")
    return rows


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


def _with_gradable_solutions(dataset: Dataset, source: str, left_out: LeftOut) -> list[int]:
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
        name = record_name({"problem_id": ids[i]}, left_out.places[i], source)
        left_out.add(
            f"{name}: the answer {solution!r:.200} cannot be parsed ({statuses[solution]}); "
            "give a number, a LaTeX expression with balanced braces, or an option letter"
        )
    if not good:
        raise ValueError(f"{source}: no record has an answer that can be graded")
    return good


@lru_cache(maxsize=4)  # the rollouts of a group follow each other, and have the same images
def _opened(data: bytes | None, path: str | None) -> Image.Image:
    return open_image({"bytes": data, "path": path})


def _decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "images" in batch:
        batch["images"] = [[_opened(image["bytes"], image["path"]) for image in own] for own in batch["images"]]
    if "prompt" in batch:
        batch["prompt"] = [chat_messages(messages) for messages in batch["prompt"]]
    return batch
