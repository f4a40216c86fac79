"""`python -m tasks.list`: every task and group, a line each."""

import argparse
from collections.abc import Sequence

from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks.registry import GROUPS, TASKS, TaskSpec

COLUMNS = ("task", "records", "rows", "samples", "scorer", "official rule", "prompt", "generation", "paper column")


def line(spec: TaskSpec) -> tuple[str, ...]:
    """The task's cells under COLUMNS."""
    where = "drawn" if spec.dataset == "json" else f"{spec.dataset}{f'@{spec.revision[:8]}' if spec.revision else ''}"
    splits = spec.splits[0] if len(spec.splits) == 1 else f"{spec.splits[0]}..{len(spec.splits)}"
    generation = spec.generation
    decoding = f"T={generation.temperature} p={generation.top_p}" if generation.do_sample else "greedy"
    return (
        spec.name,
        ":".join(part for part in (where, spec.config, splits) if part),
        str(spec.rows),
        str(spec.samples),
        f"{spec.scorer} v{SCORERS[spec.scorer].version}",
        official_rule(spec),
        spec.protocol,
        f"{decoding}, {generation.max_new_tokens} tokens",
        spec.paper_column or "",
    )


def official_rule(spec: TaskSpec) -> str:
    """Whether rule `official` is one of the benchmark, or the strict one because there is none to follow."""
    scorer = SCORERS[spec.scorer]
    return "as strict" if scorer.official == scorer.strict else "own"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines)


def main(argv: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m tasks.list", description="List the tasks and groups.").parse_args(argv)
    print(table([COLUMNS, *map(line, TASKS.values())]), end="\n\n")
    print(
        "as strict: the benchmark's scorer is a judge model, or there is none: `official` is the strict rule",
        end="\n\n",
    )
    groups = [("group", "members", "averages")]
    groups += [(name, ", ".join(group.members), ", ".join(group.averages)) for name, group in GROUPS.items()]
    print(table(groups))


if __name__ == "__main__":
    main()
