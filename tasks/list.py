"""`python -m tasks.list`: print every task and group, one per line."""

import argparse
from collections.abc import Sequence

from tabulate import tabulate

from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks.registry import GROUPS, TASKS, TaskSpec

COLUMNS = ("task", "records", "rows", "samples", "scorer", "official rule", "prompt", "generation", "paper column")


def line(spec: TaskSpec) -> tuple[str, ...]:
    """The task's cells, one per column of COLUMNS."""
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
    """ "own" if the benchmark has a scorer that can be reproduced, else "as strict"."""
    return "own" if SCORERS[spec.scorer].reproduces_benchmark else "as strict"


def main(argv: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m tasks.list", description="List the tasks and groups.").parse_args(argv)
    groups = [(name, ", ".join(group.members), ", ".join(group.averages)) for name, group in GROUPS.items()]
    layout = {"tablefmt": "plain", "disable_numparse": True}
    print(tabulate(map(line, TASKS.values()), COLUMNS, **layout))
    print("\nas strict: the benchmark is scored by a judge model or has no scorer, so `official` is the strict rule\n")
    print(tabulate(groups, ("group", "members", "averages"), **layout))


if __name__ == "__main__":
    main()
