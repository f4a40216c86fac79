import gzip
import json
from pathlib import Path

import pytest

from rlfr_mm.tasks.aggregate import Row
from rlfr_mm.tasks.dynamath import worst_case
from rlfr_mm.tasks.registry import load, task


def row(seed: str, variant: int, right: bool, subject: str = "algebra", level: str = "high school") -> Row:
    return {
        "problem_id": f"{seed}/variant{variant}",
        "sample_index": 0,
        "status": "correct" if right else "wrong",
        "score": float(right),
        "extracted": "1",
        "categories": {"seed": [seed], "variant": [str(variant)], "subject": [subject], "level": [level]},
    }


def test_worst_case_by_hand() -> None:
    rows = [row("1", 1, True), row("1", 2, True), row("2", 1, True), row("2", 2, False)]
    assert worst_case(rows) == {"average": 0.75, "worst": 0.5, "robustness": pytest.approx(2 / 3)}


def test_average_and_worst_case_of_the_published_flags(shared: Path) -> None:
    manifest = json.loads((shared / "parity" / "manifest.json").read_text())
    published = [entry for entry in manifest["sets"] if entry["benchmark"] == "DynaMath"]
    assert published
    for entry in published:
        with gzip.open(shared / "parity" / entry["file"], "rt") as file:
            flags = [json.loads(line) for line in file]
        rows = [row(f["group"], f["variant"], f["official_correct"], f["subject"], f["level"]) for f in flags]
        numbers = task("rlfr_dynamath").aggregate(rows)
        checks = entry["checks"]
        assert round(5010 * numbers["average"]) == entry["official_correct"]
        assert round(501 * numbers["worst"]) == checks["worst_case_correct"]
        assert [round(501 * numbers[f"variant/{i}"]) for i in range(1, 11)] == checks["correct_per_variant"]


def test_a_seed_has_each_variant_once(mirror: Path) -> None:
    spec = task("rlfr_dynamath")
    docs = load(spec, mirror).remove_columns("decoded_image")
    variants: dict[str, list[int]] = {}
    for doc in docs:
        variants.setdefault(doc["id"], []).append(doc["variant"])
    assert len(variants) == 30
    assert all(numbers == list(range(1, 11)) for numbers in variants.values())
