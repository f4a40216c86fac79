"""Run an experiment: methods x seeds, each cell a training run, several side by side; then compare the methods.

    python -m rlfr_mm.experiment --config configs/experiments/search_flow.yaml

Run the same command again to continue a stopped experiment. Unfinished cells resume from their checkpoints. Finished
cells are not run again, even if only their record is left. `--plan 2` says what it takes to find a gain of 2 points.
Writes to the folder of results:

- results.json: one record per cell
- table.md: accuracy, gains and corrected p values of each method
- curves.png: learning curves and gains
"""

import sys
from pathlib import Path

from rlfr_mm.config_file import one_line_errors, parser_for
from rlfr_mm.experiments.grid import Cell, ExperimentConfig


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("rlfr_mm.experiment", __doc__, ExperimentConfig)
    parser.add_argument(
        "--jobs",
        type=int,
        help="runs side by side; default: one per visible GPU, or on CPUs one per core this process may use. A run on "
        "GPUs has one of them, and shares it if there are more runs than GPUs",
    )
    parser.add_argument(
        "--plan", type=float, metavar="GAIN",
        help="run nothing; say how many seeds, problems and answers find a gain of so many points with 80 %% power, "
        "going by the results of this experiment as a pilot",
    )  # fmt: skip
    parser.add_argument("--collect-only", action="store_true", help="run nothing; write the results of finished runs")
    arguments = parser.parse_args(argv)
    with one_line_errors():
        if arguments.jobs is not None and arguments.jobs < 1:
            raise ValueError(f"--jobs {arguments.jobs} must be >= 1")

        from rlfr_mm.experiments import planning, runner, tables

        if arguments.plan is not None:
            print(planning.plan(runner.pilot(Path(arguments.config), arguments.overrides), arguments.plan))
            return
        experiment = runner.open_experiment(Path(arguments.config), arguments.overrides)
    failed: list[Cell] = []
    if experiment.waiting and not arguments.collect_only:
        try:
            failed = runner.run_experiment(experiment, arguments.jobs)
        except KeyboardInterrupt:
            how = f"run the same command again to continue the runs in {experiment.runs}"
            print(f"stopped; {how}", file=sys.stderr)
            raise SystemExit(130) from None
    if experiment.record.cells:
        tables.write_report(experiment.results)
        print(f"{len(experiment.record.cells)} cells: {experiment.results / 'table.md'}")
    if failed:
        print(f"{len(failed)} cells failed: {', '.join(cell.name for cell in failed)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
