"""The results of `eval.parity` as a table for the terminal, as JSON, and as docs/parity.md."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from rlfr_mm.eval.engine.parity import Agreement, Disagreement, SetParity
from rlfr_mm.grading import SCORERS

HEAD = """# Parity with published verdicts

Written by `python -m eval.parity DIR --docs docs/parity.md`; do not edit.

Benchmarks publish responses of models with their own verdicts, right or wrong. Here the rule `official` of our scorer
grades the same responses again. A share, such as 442/447, counts the rows in which the two verdicts are equal. One
line is one set: the responses of one model to one benchmark.

- `official answer`: graded is the published extraction, or the prediction if only that is published. This tests the
  comparison with the gold answer, not how the answer is found in the response. DynaMath publishes no answers, only
  which responses are right: here, only the average and the worst case over variants are computed from that.
- `response`: graded is the response itself, so that our rules also find the answer. On MathVista this covers only the
  rows whose published extraction occurs in the response. In the other rows a judge model inferred the answer.
- `bar`: the share that the column before it must reach, in percent; `exact` means that the published averages must
  come out to two digits.
- `whole set`: as `response`, over all rows that have a response.
- `official wrong`: rows whose published verdict is wrong although gold and prediction are the same number. They are
  left out of `official answer`, and at most 1.5 % of a set may be such rows.
- `reached`: whether the set reaches all of this.

Below the table, each row with unequal verdicts is listed under the reason: its id, the gold answer, the published
answer with its verdict, and the answer that we found with our verdict and how we found it.
"""


def parity_table(results: Sequence[SetParity]) -> str:
    """One line per set with its shares of equal verdicts, followed by missed bars and the reasons of disagreements."""
    cells = []
    for result in results:
        shares = [_share(each) for each in (result.from_official, result.from_response, result.whole_set)]
        if result.aggregates:
            shares = ["  ".join(f"{name} {value:.2f}" for name, value in result.aggregates.items()), "", ""]
        wrong = f"official wrong: {len(result.official_wrong)}" if result.official_wrong else ""
        cells.append([result.name, str(result.rows), *shares, wrong])
    columns = ["set", "rows", "from official answer", "from response", "whole set", ""]
    head, *rows = tabulate(cells, columns, tablefmt="plain", disable_numparse=True).splitlines()
    lines = [head]
    for result, row in zip(results, rows, strict=True):
        lines += [row, *(f"    MISSED {reason}" for reason in result.missed)]
        for agreement in (result.from_official, result.whole_set):
            counts = Counter(each.reason for each in agreement.disagreements).most_common()
            lines += [f"    {count:4} {reason}" for reason, count in counts]
    return "\n".join(line.rstrip() for line in lines)


def parity_json(results: Sequence[SetParity]) -> str:
    """The figures of every set as JSON."""
    return json.dumps({"sets": [_figures(result) for result in results]}, indent=1) + "\n"


def _figures(result: SetParity) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "set": result.name,
        "rows": result.rows,
        "from_official": {"n": result.from_official.n, "agree": result.from_official.agree},
        "from_response": {"n": result.from_response.n, "agree": result.from_response.agree},
        "from_response_whole_set": {"n": result.whole_set.n, "agree": result.whole_set.agree},
        "official_wrong": len(result.official_wrong),
    }
    return numbers | ({"aggregates": result.aggregates} if result.aggregates else {}) | {"missed": result.missed}


def parity_markdown(results: Sequence[SetParity]) -> str:
    """docs/parity.md: a table of the figures, then every kind of disagreement with its rows."""
    scorers = ", ".join(f"{name} {scorer.version}" for name, scorer in sorted(SCORERS.items()))
    columns = ["set", "rows", "official answer", "bar", "response", "bar", "whole set", "official wrong", "reached"]
    table = tabulate(map(_cells, results), columns, tablefmt="github", disable_numparse=True)
    lines = [HEAD, f"Scorers: {scorers}.", "", table]
    for result in results:
        lines += _explained(result)
    return "\n".join(lines) + "\n"


def _cells(result: SetParity) -> list[str]:
    if result.aggregates:
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in result.aggregates.items())
        shares = [f"{numbers} (flags only)", "exact", "-", "-", "-"]
    else:
        shares = [
            _share(result.from_official), f"{100 * result.bar.from_official:g}", _share(result.from_response),
            f"{100 * result.bar.from_response:g}", _share(result.whole_set),
        ]  # fmt: skip
    reached = "no: " + "; ".join(result.missed) if result.missed else "yes"
    return [result.name, str(result.rows), *shares, str(len(result.official_wrong)), reached]


def _share(agreement: Agreement) -> str:
    return f"{agreement.agree}/{agreement.n} = {100 * agreement.share:.2f} %" if agreement.n else "-"


def _explained(result: SetParity) -> list[str]:
    groups = (
        ("official verdict wrong", result.official_wrong),
        ("from the official answer", result.from_official.disagreements),
        ("from the response", result.whole_set.disagreements),
    )
    if not any(rows for _, rows in groups):
        return []
    lines = ["", f"## {result.name}"]
    for title, rows in groups:
        for reason, count in Counter(row.reason for row in rows).most_common():
            lines += ["", f"{title}, {count} rows: {reason}", ""]
            lines += [f"- {_line(row)}" for row in rows if row.reason == reason]
    return lines


def _line(row: Disagreement) -> str:
    def short(text: str | None) -> str:
        flat = " ".join((text or "").split()).replace("`", "'")
        return "nothing" if not flat else f"`{flat[:57]}...`" if len(flat) > 60 else f"`{flat}`"

    published = "right" if row.official_correct else "wrong"
    return (
        f"{row.row_id}: gold {short(row.gold)}, official {short(row.official_answer)} ({published}), ours "
        f"{short(row.ours.extracted)} ({row.ours.status}, {row.ours.method})"
    )
