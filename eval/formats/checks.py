"""Whether exported files may be submitted, and where: `python -m eval.export RUN --to FORMAT --out DIR --check`.

Every file that the run would write must be there, answer the same problems, and keep to the rules of its board
(schemas.py). They are read as they stand, with what was filled in by hand.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from huggingface_hub import ModelCard

from rlfr_mm import files
from rlfr_mm.eval.formats import schemas, vlmevalkit
from rlfr_mm.eval.formats.base import EvaluatedRun, Format, read_jsonl

MOST_SHOWN = 5  # problems of one file


@dataclass(frozen=True)
class FileRule:
    """The rule for the files whose names match a pattern: a schema of the whole file, or of each record in it.

    `key` gives the id of a record; None stands for a whole file.
    """

    pattern: str
    schema: schemas.Schema
    key: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Board:
    """What may be submitted in a format, and how. `across` finds problems between the files that `rules` do not see."""

    submit: str
    rules: tuple[FileRule, ...] = ()
    across: Callable[[Sequence[Path]], Iterator[str]] = lambda paths: iter(())


def problems(name: str, chosen: Format, run: EvaluatedRun, out: Path) -> list[str]:
    """What keeps the files of a run in `out` from being submitted, one line each; empty if nothing does.

    ValueError if nobody takes submissions in this format.
    """
    if name not in BOARDS:
        raise ValueError(f"{name} is no submission, so there are no rules to check; there are for {', '.join(BOARDS)}")
    board, found, there = BOARDS[name], list[str](), []
    with tempfile.TemporaryDirectory() as scratch:
        assert chosen.write is not None
        for fresh in chosen.write(run, Path(scratch)):
            path = out / fresh.relative_to(scratch)
            if not path.is_file():
                found.append(f"{path} is missing: write it by leaving --check out")
                continue
            there.append(path)
            for rule in board.rules:
                if path.match(rule.pattern):
                    own = list(_of_file(path, fresh, rule))
                    more = [f"{path}: {len(own) - MOST_SHOWN:,} more problems"] if len(own) > MOST_SHOWN else []
                    found += [f"{path}: {line}" for line in own[:MOST_SHOWN]] + more
    return found or list(board.across(there))


def _of_file(path: Path, fresh: Path, rule: FileRule) -> Iterator[str]:
    try:
        value = _content(path)
    except (ValueError, yaml.YAMLError) as error:
        yield " ".join(str(error).split())
        return
    validator = jsonschema.Draft7Validator(rule.schema)
    if rule.key is None:
        yield from (_told(error) for error in validator.iter_errors(value))
        return
    entries = _by_key(value, rule.key)
    answered, wanted = (Counter(key for key, _ in found) for found in (entries, _by_key(_content(fresh), rule.key)))
    yield from (f"{answered[key]} records of {key}, of which there must be one" for key in wanted if answered[key] != 1)
    yield from (f"{key} is not a problem of the run" for key in answered if key not in wanted)
    for key, entry in entries:
        yield from (f"{key}: {_told(error)}" for error in validator.iter_errors(entry))


def _by_key(records: Any, key: Callable[[Any], Any]) -> list[tuple[Any, Any]]:
    """(id, record) of each; the id is None if the record has none."""
    if isinstance(records, dict):
        return list(records.items())
    found = []
    for record in records if isinstance(records, list) else [records]:
        try:
            found.append((key(record), record))
        except (KeyError, TypeError):
            found.append((None, record))
    return found


def _content(path: Path) -> Any:
    """What a file holds: the value of JSON or YAML, a list of records or of the rows of a table, a card's header."""
    match path.suffix:
        case ".json":
            return files.read_json(path)
        case ".jsonl":
            return [entry for _, entry in read_jsonl(path)]
        case ".yaml":
            return yaml.safe_load(path.read_text(encoding="utf-8"))
        case ".md":
            return ModelCard(path.read_text(encoding="utf-8")).data.to_dict()
        case _:
            return vlmevalkit.table_lines(path)


def _told(error: jsonschema.ValidationError) -> str:
    """A violation in a few words, with the place inside the record."""
    place = ".".join(map(str, error.absolute_path))
    if error.instance in ("", "unknown"):
        return f"fill in {place}"
    return f"{place}: {error.message[:200]}" if place else error.message[:200]


# ---------------------------------------------------------------------------------------------------- across files


def _sample_key(line: Any) -> Any:
    return line["sample_id"], line["metadata"]["sample_index"]


def _every_eval_ever(paths: Sequence[Path]) -> Iterator[str]:
    """Checksums and row counts of samples, and what only a person knows."""
    for path in (path for path in paths if path.suffix == ".json"):
        record = files.read_json(path)
        details, samples = record["detailed_evaluation_results"], path.with_name(f"{path.stem}_samples.jsonl")
        if details["checksum"] != hashlib.sha256(samples.read_bytes()).hexdigest():
            yield f"{path}: detailed_evaluation_results.checksum is not that of {samples.name}"
        if details["total_rows"] != len(read_jsonl(samples)):
            yield f"{path}: detailed_evaluation_results.total_rows is not the number of lines of {samples.name}"
        if path.parent.parent.name == "unknown":
            yield f"{path}: the model has no developer: export it again with --model DEVELOPER/MODEL"
        if record["source_metadata"]["source_organization_name"] == "unknown":
            yield f"{path}: fill in source_metadata.source_organization_name"
        for name, value in record["model_info"]["additional_details"].items():
            if value == "unknown":
                yield f"{path}: fill in model_info.additional_details.{name}"


def _mathvista(paths: Sequence[Path]) -> Iterator[str]:
    """The average of the scores is that of the verdicts beside them."""
    for path in (path for path in paths if path.name.startswith("output_")):
        right = [entry.get("true_false") is True for entry in files.read_json(path).values()]
        scores = path.with_name(path.name.replace("output_", "scores_", 1))
        average = files.read_json(scores)["average"]
        if (average["correct"], average["total"]) != (sum(right), len(right)):
            said = f"{average['correct']} of {average['total']}"
            yield f"{scores}: average says {said}, but {path.name} has {sum(right)} of {len(right)}"


_KIT_COLUMNS = schemas.table({"index": {}, "question": {}, "answer": {}, "prediction": {"type": ["string", "null"]}})
_CARD = schemas.table(
    {
        "model-index": {
            "type": "array",
            "minItems": 1,
            "items": schemas.table({"name": schemas.FILLED, "results": {}}),
        },
        "pipeline_tag": schemas.FILLED,
    }
)
_REPOSITORY = "https://github.com"

BOARDS = {
    "hf-eval-results": Board(
        "commit `.eval_results` to the model's repository on the hub, or open a pull request there "
        "(https://huggingface.co/docs/hub/eval-results); the dataset must have an `eval.yaml` with this `task_id`",
        (FileRule("*.yaml", schemas.EVAL_RESULTS),),
    ),
    "model-index": Board(
        "make it the README.md of the model's repository on the hub, or merge its header into yours",
        (FileRule("*.md", _CARD),),
    ),
    "every-eval-ever": Board(
        "open a pull request titled `[Submission] ...` that adds `data` to "
        "https://huggingface.co/datasets/evaleval/EEE_datastore, which runs `every_eval_ever validate`",
        (
            FileRule("*_samples.jsonl", schemas.EVERY_EVAL_EVER_SAMPLE, _sample_key),
            FileRule("*[0-9a-f].json", schemas.EVERY_EVAL_EVER),
        ),
        _every_eval_ever,
    ),
    "openvlm": Board(
        f"open a pull request that adds the model to {_REPOSITORY}/open-compass/VLMEvalKit: its maintainers evaluate "
        "what the kit supports, and take the file as the figures to expect",
        (FileRule("OpenVLM.json", schemas.OPENVLM),),
    ),
    "vlmevalkit": Board(
        "copy the folder into `outputs` of VLMEvalKit and run `run.py --mode eval`; submit as for openvlm",
        (FileRule("*.xlsx", _KIT_COLUMNS, lambda row: row["index"]),
         FileRule("*.tsv", _KIT_COLUMNS, lambda row: row["index"])),
    ),
    "mathvista": Board(
        f"send both files to the address in the README of {_REPOSITORY}/lupantech/MathVista, Contributing the "
        "Leaderboard",
        (FileRule("output_*.json", schemas.MATHVISTA, str), FileRule("scores_*.json", schemas.MATHVISTA_SCORES)),
        _mathvista,
    ),
    "math-v": Board(
        f"put the .jsonl into `outputs` of {_REPOSITORY}/mathllm/MATH-V, run its `evaluation/evaluate.py`, and open an "
        "issue there with both files",
        (FileRule("*.jsonl", schemas.MATHV, lambda line: line["id"]), FileRule("*_result.json", schemas.MATHV_SCORES)),
    ),
    "mathverse": Board(
        f"send the file to the address in the README of {_REPOSITORY}/ZrrSkywalker/MathVerse, Contributing to the "
        "Leaderboard",
        (FileRule("*.json", schemas.MATHVERSE, lambda entry: entry["sample_index"]),),
    ),
    "we-math": Board(
        f"run `evaluation/four_dimensional_metrics.py` of {_REPOSITORY}/We-Math/We-Math on the .json, and open an "
        "issue there with both files",
        (FileRule("*.json", schemas.WEMATH, lambda entry: (entry["ID"], entry["key"])),),
    ),
    "logicvista": Board(
        f"open a pull request that adds the file to `eval/answers` of {_REPOSITORY}/Yijia-Xiao/LogicVista",
        (FileRule("*-answers.json", schemas.LOGICVISTA, str),),
    ),
    "visulogic": Board(
        f"send both files to the contacts in the README of {_REPOSITORY}/VisuLogic-Benchmark/VisuLogic-Eval",
        (FileRule("*.jsonl", schemas.VISULOGIC, lambda line: line["id"]),),
    ),
}  # fmt: skip
