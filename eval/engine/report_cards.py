"""The responses in a report: one card per problem and sample index with the answers of all runs, and the images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm import tqdm

from rlfr_mm.eval.engine import records
from rlfr_mm.eval.engine.plan import load_docs, read_record
from rlfr_mm.eval.engine.records import RunError, SampleRow
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import TaskSpec
from rlfr_mm.viewing.messages import Message, messages_of
from rlfr_mm.viewing.page.html import thumbnail

MAX_ANSWERS = 20_000  # on a page, over all runs; the scores always count all rows
MAX_CHARS = 20_000  # of one response or prompt; the middle of a longer text is left out
IMAGE_SIDE = 400  # pixels of a thumbnail's longer side
MAX_IMAGE_CHARS = 40_000_000  # of all thumbnails together, as data URIs

Card = dict[str, Any]


def cards(runs: Sequence[Mapping[str, Sequence[SampleRow]]]) -> tuple[list[Card], list[list[Message]]]:
    """The cards in the order of tasks, problems and samples, and the prompts that they refer to by position.

    If there are more than MAX_ANSWERS answers, those with the lowest sample indices are kept, so that every problem has
    some.

    Args:
        runs: the rows of each run by task.
    """
    found: dict[tuple[str, str, int], Card] = {}
    prompts: dict[tuple[str, int], int] = {}  # rendered, with the number of images
    for number, run in enumerate(runs):
        for rows in run.values():
            for row in rows:
                key = (row.task, row.problem_id, row.sample_index)
                card = found.setdefault(key, _card(row))
                prompt = prompts.setdefault((cut(_prompt(row)), len(row.image_hashes)), len(prompts))
                card["answers"].append(_answer(row, number, prompt))
    tasks = {task: place for place, task in enumerate(dict.fromkeys(card["task"] for card in found.values()))}
    ordered = sorted(found.values(), key=lambda card: (tasks[card["task"]], card["doc_id"], card["sample"]))
    kept, answers = set(), 0
    for place in sorted(range(len(ordered)), key=lambda place: ordered[place]["sample"]):
        answers += len(ordered[place]["answers"])
        if answers > MAX_ANSWERS:
            break
        kept.add(place)
    return [card for place, card in enumerate(ordered) if place in kept], [messages_of(*prompt) for prompt in prompts]


def _prompt(row: SampleRow) -> str:
    """The prompt of the model, or for imported rows, which lack it, the prompt of our task."""
    if row.prompt is not None:
        return row.prompt
    try:
        return f"[The prompt was not recorded; this task asks:]\n{registry.task(row.task).text(row.doc)}"
    except (ValueError, TypeError, AttributeError):  # the file of another harness may lack the question, or have null
        return "[The prompt was not recorded.]"


def _card(row: SampleRow) -> Card:
    gold = [row.gold] if isinstance(row.gold, str) else row.gold
    return {
        "task": row.task,
        "problem": row.problem_id,
        "doc_id": row.doc_id,
        "sample": row.sample_index,
        "gold": [cut(text) for text in gold],
        "categories": row.categories,
        "images": row.image_hashes,
        "answers": [],
    }


def _answer(row: SampleRow, run: int, prompt: int) -> dict[str, Any]:
    shown = ("status", "extracted", "method", "detail")
    return {
        "run": run,
        "prompt": prompt,
        "response": marked(row.response, row.verdict.span),
        "tokens": row.completion_tokens,
        "finish": row.finish_reason,
        "strict": {name: getattr(row.verdict, name) for name in shown},
        "official": {name: getattr(row.verdict_official, name) for name in shown},
    }


def marked(text: str, span: tuple[int, int] | None) -> list[str]:
    """The text, `cut`, in three parts: before the span that the strict rule read, the span, and after it.

    One part if there is no span, or if it is in what is left out.
    """
    shown = cut(text)
    if span is None:
        return [shown]
    start, end = span
    if shown != text and end > MAX_CHARS // 2:
        start, end = start - len(text) + len(shown), end - len(text) + len(shown)
        if start < len(shown) - MAX_CHARS // 2:
            return [shown]
    return [shown[:start], shown[start:end], shown[end:]]


def cut(text: str) -> str:
    """The text; of a text longer than MAX_CHARS the beginning and the end, with a note between them."""
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}\n\n[… {len(text) - 2 * half:,} characters left out of this page …]\n\n{text[-half:]}"


def add_images(wanted: Sequence[Card], data_roots: Mapping[str, Sequence[str | None]]) -> tuple[dict[str, str], str]:
    """Thumbnails by image hash, read from the datasets; and one line about images that are not shown, "" if none.

    A run keeps the hashes of its images but not the images. An image is shown only if it is the one that the model saw.
    Cards of imported rows have no hashes and get those of the record with the id of their problem.

    Args:
        data_roots: per task, the folders to try in turn; None stands for the hub or its cache.
    """
    by_task: defaultdict[str, dict[str, list[Card]]] = defaultdict(dict)
    for card in wanted:
        if card["task"] in registry.TASKS and registry.task(card["task"]).image is not None:
            by_task[card["task"]].setdefault(card["problem"], []).append(card)
    images: dict[str, str] = {}
    reasons: dict[str, None] = {}
    for task, by_problem in by_task.items():
        _add_images_of(registry.task(task), by_problem, data_roots[task], images, reasons)
    bare = sum(
        not members[0]["images"] or any(name not in images for name in members[0]["images"])
        for by_problem in by_task.values()
        for members in by_problem.values()
    )
    why = "; ".join(reasons) or "the data have changed since the run"
    problems = sum(map(len, by_task.values()))
    return images, f"images are not shown for {bare:,} of {problems:,} problems: {why}" if bare else ""


def _add_images_of(
    spec: TaskSpec,
    by_problem: Mapping[str, Sequence[Card]],
    roots: Sequence[str | None],
    images: dict[str, str],
    reasons: dict[str, None],
) -> None:
    """Add the thumbnails of one task to `images`, and the reasons for missing ones to `reasons`."""
    docs = _first_readable(spec, roots, reasons)
    if docs is None:
        return
    # By the id of the problem, since an imported row may not have the position of the record.
    positions = {spec.problem_id(doc): i for i, doc in enumerate(docs.remove_columns([spec.image]))}
    chars = sum(map(len, images.values()))
    for problem, members in tqdm(by_problem.items(), desc=f"{spec.name}: images", disable=None):
        if problem not in positions:
            continue
        if chars > MAX_IMAGE_CHARS:
            reasons[f"a page holds {MAX_IMAGE_CHARS / 1e6:.0f} MB of them"] = None
            break
        try:
            doc = read_record(spec, docs, positions[problem])
            pictures = {records.image_hash(image): image for image in spec.images(doc)}
        except ValueError as error:
            reasons[str(error)] = None
            continue
        for card in members:
            card["images"] = card["images"] or list(pictures)
            for name in card["images"]:
                if name in pictures and name not in images:
                    images[name] = thumbnail(pictures[name], IMAGE_SIDE)
                    chars += len(images[name])


def _first_readable(spec: TaskSpec, roots: Sequence[str | None], reasons: dict[str, None]) -> Dataset | None:
    for root in roots:
        try:
            return load_docs(spec, root)
        except RunError as error:
            reasons[str(error)] = None
    return None


def data_roots(given: Path | None, manifests: Sequence[records.Manifest], task: str) -> list[str | None]:
    """The folders that may hold the records of a task: the one given for the report, or those that its runs read."""
    if given is not None:
        return [str(given)]
    return list(dict.fromkeys(manifest.data_root for manifest in manifests if task in manifest.tasks))
