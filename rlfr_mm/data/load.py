"""Rows of any supported dataset as TRL columns: prompt, images, solution, choices, problem_id (and completion).

`load_problems` and `load_demonstrations` read and check what a row says; `check_prompts` decodes every image once and
counts tokens, with the processor that will be used. After both, no record can stop a training run.
"""

import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, Features, List, Value
from tqdm.auto import tqdm
from transformers import AutoProcessor

from rlfr_mm.config import QUICKSTART, DataArguments, ModelArguments
from rlfr_mm.data.images import open_image, store_image
from rlfr_mm.data.readers import Row, check_columns, detect_format, read_row
from rlfr_mm.grading import Item, grade_all
from rlfr_mm.policy import Processor, tokenizer_of
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
QUICKSTART_ROWS = 1024  # of the drawn world, unless data.limit says otherwise

logger = logging.getLogger(__name__)


def load_problems(args: DataArguments) -> Dataset:
    """Problems with the columns prompt, images, solution, choices, problem_id, expert; images are decoded on access.

    `prompt` is conversational: text-only rows have string contents, rows with images have a list of parts with one
    {"type": "image"} per image; `images` is a list of RGB PIL images ([] for text-only rows); `choices` is a list of
    option texts ([] for free answers); `expert` is a right response where the source is the drawn world, else None
    (TRL would take a column `completion` for a part of the prompt). Missing columns, files, answers and placeholders
    raise a one-line ValueError, as does an answer that the grader does not find equal to itself.
    """
    dataset = _load(args, expert=False).rename_column("completion", "expert")
    _check_solutions(dataset, args.source)
    return dataset.with_transform(_decode)


def load_demonstrations(args: DataArguments) -> Dataset:
    """Expert rows for the offline start: the columns of `load_problems` and `completion`, the response as text.

    Rows without a response that is known to be correct are left out; `solution` may be empty.
    """
    dataset = _load(args, expert=True)
    keep = [i for i, completion in enumerate(dataset["completion"]) if completion]
    if not keep:
        raise ValueError(f"{args.source}: none of the {len(dataset)} rows has an expert response")
    if len(keep) < len(dataset):
        logger.warning("%s: %d of %d rows have no expert response", args.source, len(dataset) - len(keep), len(dataset))
        dataset = dataset.select(keep)
    return dataset.with_transform(_decode)


def load_processor(model: ModelArguments, data: DataArguments) -> Processor:
    """The policy's processor (its tokenizer for text models): left padding, a pad token, the data's pixel limits.

    transformers does not save the padding side, and TRL then builds wrong position ids for prompts of mixed length.
    """
    limits = {"shortest_edge": data.min_pixels, "longest_edge": data.max_pixels}  # areas, under transformers' names
    limits = {edge: pixels for edge, pixels in limits.items() if pixels is not None}
    try:
        processor = AutoProcessor.from_pretrained(
            model.name_or_path,
            revision=model.revision or "main",
            trust_remote_code=model.trust_remote_code,
            padding_side="left",
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"no processor for model {model.name_or_path}: {' '.join(str(error).split())}") from None
    tokenizer = tokenizer_of(processor)
    if model.chat_template is not None:
        if not Path(model.chat_template).is_file():
            raise ValueError(
                f"no file model.chat_template={model.chat_template}; configs/plain_chat.jinja is an example"
            )
        processor.chat_template = Path(model.chat_template).read_text()
    if processor.chat_template is None:
        raise ValueError(
            f"{model.name_or_path} has no chat template: use its instruct version, or set model.chat_template"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if limits and tokenizer is not processor:
        size = dict(processor.image_processor.size)
        if not (size.get("shortest_edge") and size.get("longest_edge")):
            raise ValueError(f"{model.name_or_path} has no pixel limits; leave data.min_pixels and data.max_pixels out")
        size |= limits
        if size["shortest_edge"] > size["longest_edge"]:
            raise ValueError(
                f"images between {size['shortest_edge']} and {size['longest_edge']} pixels: "
                "set data.min_pixels and data.max_pixels together"
            )
        processor.image_processor.size = type(processor.image_processor.size)(**size)
    return processor


def check_prompts(dataset: Dataset, processor: Processor, args: DataArguments) -> Dataset:
    """The rows whose prompt fits `max_prompt_tokens`, after decoding every image once.

    Image tokens are computed from the sizes, as the processor would make them. Raises a one-line ValueError that names
    the record for an image that cannot be decoded, images for a text-only policy, special tokens inside the text, and,
    unless `overlong` is drop, for a prompt over the limit.
    """
    raw = dataset.with_format(None)
    keep, longest = [], 0
    pool = ThreadPoolExecutor()
    try:
        rows = pool.map(partial(_measured, raw, args.source), range(len(raw)))
        for i, (row, sizes) in enumerate(tqdm(rows, "Checking prompts", len(raw), disable=len(raw) < 1000)):
            try:
                tokens = prompt_length(_conversation(row["prompt"]), sizes, processor)
            except ValueError as error:
                raise ValueError(f"{_record(row, i, args.source)}: {error}") from None
            longest = max(longest, tokens)
            if args.max_prompt_tokens is None or tokens <= args.max_prompt_tokens:
                keep.append(i)
            elif args.overlong == "error":
                raise ValueError(
                    f"{_record(row, i, args.source)}: the prompt has {tokens} tokens, over data.max_prompt_tokens="
                    f"{args.max_prompt_tokens}; raise it, lower data.max_pixels, or set data.overlong to drop"
                )
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nobody waits for the rest
    if not keep:
        raise ValueError(
            f"{args.source}: all {len(raw)} prompts are over data.max_prompt_tokens={args.max_prompt_tokens}"
        )
    if len(keep) < len(raw):
        logger.warning(
            "%s: dropped %d of %d prompts over %d tokens (longest: %d)",
            args.source, len(raw) - len(keep), len(raw), args.max_prompt_tokens, longest,
        )  # fmt: skip
    return dataset.select(keep) if len(keep) < len(raw) else dataset


def prompt_length(messages: list[Row], image_sizes: list[tuple[int, int]], processor: Processor) -> int:
    """Tokens of a prompt with its generation prompt; `image_sizes` are (height, width) in pixels."""
    tokenizer = tokenizer_of(processor)
    if image_sizes and tokenizer is processor:
        raise ValueError(
            f"the record has images, and {processor.name_or_path} reads none; use a vision-language policy"
        )
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    if tokenizer is processor:
        return length
    multimodal: Any = processor
    if text.count(multimodal.image_token) != len(image_sizes):
        raise ValueError(f"the text contains {multimodal.image_token}, which stands for an image; remove it")
    if not image_sizes:
        return length
    counts = multimodal._get_num_multimodal_tokens(image_sizes=image_sizes)["num_image_tokens"]
    return length - len(image_sizes) + sum(counts)


def _load(args: DataArguments, expert: bool) -> Dataset:
    if args.source == QUICKSTART:
        return _quickstart(args)
    rows, folder = _rows(args)
    columns = rows.column_names if isinstance(rows, Dataset) else {column for row in rows for column in row}
    if len(rows) == 0:
        raise ValueError(f"{args.source} has no rows; give a file or split with at least one record")
    format_name = detect_format(columns, args.source) if args.format == "auto" else args.format
    check_columns(columns, format_name, args.source, expert)
    read = partial(
        read_row,
        format_name=format_name,
        source=args.source,
        folder=Path(args.media_dir) if args.media_dir else folder,
        instruction=args.instruction,
        expert=expert,
    )
    number = len(rows) if args.limit is None else min(args.limit, len(rows))
    if isinstance(rows, Dataset):
        # Not from the cache: its key would not notice a change of our readers.
        dataset = rows.select(range(number)).map(
            read, with_indices=True, remove_columns=rows.column_names, features=FEATURES,
            load_from_cache_file=False, writer_batch_size=100, desc="Reading records",
        )  # fmt: skip
    else:
        dataset = Dataset.from_list([read(row, i) for i, row in enumerate(rows[:number])], features=FEATURES)
    return _with_unique_ids(dataset)


def _quickstart(args: DataArguments) -> Dataset:
    """Rows of the drawn world, whose questions need no instruction: its policy learns the form by demonstration."""
    rows = world.rows(args.limit or QUICKSTART_ROWS, args.split, args.levels, args.seed)
    return Dataset.from_list(
        [
            {
                "prompt": row["prompt"],
                "images": [store_image(image, Path()) for image in row["images"]],
                "solution": row["solution"],
                "choices": [],
                "problem_id": row["problem_id"],
                "completion": row["completion"],
            }
            for row in rows
        ],
        features=FEATURES,
    )


def _rows(args: DataArguments) -> tuple[list[Row] | Dataset, Path]:
    """The rows of the source, images not decoded, and the folder that their relative paths start from."""
    path = Path(args.source)
    if path.suffix in (".json", ".jsonl", ".parquet") and not path.is_file():
        raise ValueError(f"no data file {path}; data.source is a file (json, jsonl, parquet), a folder, or a hub id")
    if path.suffix == ".jsonl":
        lines = _text(path).split("\n")  # splitlines would also split inside JSON strings
        return [_parse(line, f"{path} line {n}") for n, line in enumerate(lines, start=1) if line.strip()], path.parent
    if path.suffix == ".json":
        return _parse(_text(path), str(path), kind=list), path.parent
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
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        elif isinstance(feature, List) and isinstance(feature.feature, datasets.Image):
            dataset = dataset.cast_column(column, List(datasets.Image(decode=False)))
    return dataset, path.parent if path.suffix == ".parquet" else path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None


def _parse(text: str, where: str, kind: type = dict) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from None
    if not isinstance(value, kind):
        wanted = "one record, {...}" if kind is dict else "a list of records, [{...}, ...]"
        raise ValueError(f"{where} must hold {wanted}, not {type(value).__name__}")
    return value


def _with_unique_ids(dataset: Dataset) -> Dataset:
    """Repeated ids get #2, #3, ...: records and statistics are kept by problem_id."""
    seen: Counter[str] = Counter()
    ids = []
    for problem_id in dataset["problem_id"]:
        seen[problem_id] += 1
        ids.append(problem_id if seen[problem_id] == 1 else f"{problem_id}#{seen[problem_id]}")
    return dataset if len(seen) == len(ids) else dataset.remove_columns("problem_id").add_column("problem_id", ids)


def _check_solutions(dataset: Dataset, source: str) -> None:
    """Each answer, written as a response, must be found and equal to itself, or no response could earn the reward."""
    first: dict[str, int] = {}
    for i, solution in enumerate(dataset["solution"]):
        first.setdefault(solution, i)
    verdicts = grade_all([Item(f"\\boxed{{{solution}}}", solution) for solution in first])
    for (solution, i), verdict in zip(first.items(), verdicts, strict=True):
        if not verdict.correct:
            raise ValueError(
                f"{_record(dataset[i], i, source)}: the answer {solution!r} cannot be parsed ({verdict.status}); "
                f"give a number, a LaTeX expression with balanced braces, or an option letter"
            )


def _decode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    if "images" in batch:
        batch["images"] = [[open_image(image) for image in images] for images in batch["images"]]
    if "prompt" in batch:
        batch["prompt"] = [_conversation(messages) for messages in batch["prompt"]]
    return batch


def _conversation(messages: list[Row]) -> list[Row]:
    """Messages as chat templates want them: plain text where there is no image, else parts without empty keys."""
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["text"]}
                for part in message["content"]
            ]
            if any(part["type"] == "image" for part in message["content"])
            else "".join(part["text"] for part in message["content"]),
        }
        for message in messages
    ]


def _measured(raw: Dataset, source: str, index: int) -> tuple[Row, list[tuple[int, int]]]:
    """A row without its images, and their (height, width) after decoding each of them."""
    row = raw[index]
    try:
        images = [open_image(image) for image in row.pop("images")]
    except ValueError as error:
        raise ValueError(f"{_record(row, index, source)}: {error}") from None
    return row, [(image.height, image.width) for image in images]


def _record(row: Row, index: int, source: str) -> str:
    return f"{source}: record {index} (id {row['problem_id']})"
