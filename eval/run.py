"""Answer tasks with a model: `python -m eval.run --model rlfr=CHECKPOINT --tasks rlfr_math500 --output_dir RUN`.

Responses are journalled as they are produced. The same command resumes a run that was stopped, and ends with the same
rows. Everything after generation can be redone from the rows.

Several processes share a run under `accelerate launch -m eval.run ...`, or as `--shard 0/2` and `--shard 1/2` of a
scheduler. The last one to finish merges and scores the rows, and `python -m eval.score RUN` does so at any time.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlfr_mm.config_file import one_line_errors, read_settings
from rlfr_mm.eval.engine.shards import WHOLE, Shard, launched_shard, parse_shard
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import TaskSpec


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; those of a `--config` file are defaults. ValueError if that file cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eval.run", description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="YAML file with any of these options; the command line overrides it")
    parser.add_argument(
        "--model",
        help="lmms-eval back end as NAME[,key=value...], or rlfr=CHECKPOINT[,key=value...] for a policy that "
        "rlfr_mm.train made or could train: a folder or a hub id (docs/adding_a_policy.md)",
    )
    parser.add_argument("--tasks", help="tasks and groups, separated by commas; rlfr_mm.tasks.list prints them")
    parser.add_argument("--include_path", help="folder with benchmarks of your own (docs/adding_a_benchmark.md)")
    parser.add_argument("--output_dir", type=Path, help="run folder; the same command resumes the run in it")
    parser.add_argument("--data_root", help="local mirror of the dataset repositories, used instead of the hub")
    parser.add_argument("--samples", type=_positive, help="responses per problem (default: as the task says)")
    parser.add_argument("--limit", type=_positive, help="answer only the first N problems of each task")
    parser.add_argument("--seed", type=int, default=0, help="all sample seeds derive from it (default: 0)")
    parser.add_argument(
        "--batch_size", type=_positive, help="requests per batch (default: 8, and 512 for servers such as openai)"
    )
    parser.add_argument("--gen_kwargs", default="", help="key=value,... replaces generation settings of the tasks")
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="be process I of N, such as $SLURM_PROCID/$SLURM_NTASKS; accelerate launch sets this by itself",
    )
    parser.add_argument(
        "--allow-changed-data", action="store_true", help="accept sliced or changed data, and mark the results"
    )
    config = parser.parse_known_args(argv)[0].config
    if config:
        parser.set_defaults(
            **_read_config(
                Path(config), {one.dest: one for one in parser._actions if one.dest not in ("config", "help")}
            )
        )
    args = parser.parse_args(argv)
    for name in ("model", "tasks", "output_dir"):
        if getattr(args, name) is None:
            parser.error(f"--{name} is required")
    return args


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least 1")
    return int(text)


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_config(path: Path, options: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """The options in a YAML file; ValueError if it cannot be read, has an unknown option, or a flag that is no boolean.

    A list or a mapping is joined to what the command line takes: `a,b` or `key=value,key=value`.
    """
    values = read_settings(path)
    if unknown := values.keys() - options.keys():
        raise ValueError(
            f"--config {path}: unknown {', '.join(sorted(unknown))}; the options are {', '.join(sorted(options))}"
        )
    found: dict[str, Any] = {}
    for key, value in values.items():
        flag = options[key].nargs == 0
        if flag and not isinstance(value, bool | None):
            raise ValueError(f"--config {path}: {key}={value!r} must be true or false, without quotes")
        if isinstance(value, dict):
            value = [f"{name}={one}" for name, one in value.items()]
        if isinstance(value, list):
            value = ",".join(map(str, value))
        # argparse converts defaults that are text with the option's own type, as it does on the command line.
        found[key] = value if flag or value is None else str(value)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all results are there; 1: some are missing, and it says which; 2: the input cannot be used."""
    with one_line_errors():
        args = parse_args(argv)
        try:
            return _run(args)
        except KeyboardInterrupt:
            print(f"\ninterrupted; the same command resumes the run in {args.output_dir}", file=sys.stderr)
            return 130


def _run(args: argparse.Namespace) -> int:
    shard = launched_shard()
    if args.shard and shard.count > 1:
        raise ValueError(f"--shard {args.shard} under a launcher of {shard.count} processes: leave out one of the two")
    if args.include_path:
        registry.include(args.include_path)
    specs = named_tasks(args.tasks)  # before the libraries are loaded, which takes seconds
    from rlfr_mm.eval.engine import run_files

    run_files.check_folder(args.output_dir)
    from rlfr_mm.eval.engine import harness, plan, running, scoring

    settings = plan.RunSettings(
        samples=args.samples,
        limit=args.limit,
        seed=args.seed,
        generation=harness.parse_settings(
            args.gen_kwargs, f"--gen_kwargs {args.gen_kwargs}: write key=value,key=value"
        ),
        data_root=args.data_root,
        allow_changed_data=args.allow_changed_data,
    )
    for spec in specs:  # refused here, before a model is loaded
        plan.generation_settings(spec, settings.samples or spec.samples, settings.generation)
    backend = harness.build_backend(args.model, args.batch_size, specs)
    progress = shard.index == 0
    shard = args.shard or shard
    found = running.evaluate(backend, specs, args.output_dir, settings, shard, progress)
    if found.results is None:
        scoring.print_missing(found.failures)
        print(f"shard {shard} of {args.output_dir} is done; the last one to finish scores the run")
        return 1 if found.failures else 0
    status = scoring.print_results(found.results, [*found.incomplete, *found.failures])
    page = shlex.join(["python", "-m", "rlfr_mm.eval.report", str(args.output_dir), "--out", "report.html"])
    print(f"responses and results are in {args.output_dir}; {page} shows them")
    # What other shards have not answered yet is not a failure of this one.
    return status if shard == WHOLE else int(bool(found.failures))


def named_tasks(names: str) -> list[TaskSpec]:
    """The tasks behind comma-separated names of tasks and groups. ValueError for an unknown name, or without names."""
    specs = registry.expand(name.strip() for name in names.split(",") if name.strip())
    if not specs:
        raise ValueError("--tasks names no task; python -m rlfr_mm.tasks.list prints them")
    return specs


if __name__ == "__main__":
    sys.exit(main())
