"""Train a policy with flow rewards: one command, one YAML file, one run folder.

The run folder holds:
  config.yaml                    all settings of the run
  metrics.jsonl                  one row per policy step
  rollouts/                      rollouts with the rewards of each token
  checkpoint-N                   what --resume continues from, exactly as if the run had never been killed
  evaluation_before.jsonl, evaluation_after.jsonl    the held-out answers; evaluation/ has those during training
  curve.png, summary.json        the results
  final/                         the policy, its processor and, in flow/, the field
  bad_steps/                     batches of steps that were skipped because something was not finite

SIGTERM and SIGUSR1 write a checkpoint after the next step and end the process with status 75. Ctrl-C ends it at once.
In both cases, and after a kill, the same command with --resume continues the run.

With --check nothing is trained, loaded or written: everything that a run checks is checked, also on a machine without a
GPU, and the memory per process and the field's share of the compute are estimated from the sizes in config.json.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import build, one_line_errors, parser_for, read_settings, with_overrides
from rlfr_mm.files import BadFile
from rlfr_mm.precheck import (
    adopt_field,
    check_batches,
    check_controls,
    check_evaluation,
    check_gpus,
    check_paths,
    check_sources,
    check_start,
    check_train,
    missing_packages,
    planned_launch,
)


def main(argv: list[str] | None = None) -> None:
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)  # settings may stand on both sides of an option
    if not arguments.check and (arguments.processes or arguments.accelerate):
        parser.error("--processes and --accelerate go with --check; a run is started by `accelerate launch`")
    with one_line_errors():
        settings = with_overrides(read_settings(arguments.config), arguments.overrides)
        config: RunConfig = build(RunConfig, settings)
        check_train(config.train)
        check_sources(settings)
        config.train["output_dir"] = config.train.get("output_dir") or f"runs/{Path(arguments.config).stem}"
        from rlfr_mm.training.own_rewards import RewardError, load_rewards
        from rlfr_mm.training.run_folder import check_run

        check_paths(config, weights=not arguments.check)
        load_rewards(config, beside=Path(arguments.config).parent)
        adopt_field(config, settings.get("flow") or {})
        launch = planned_launch(config.train, arguments.processes, arguments.accelerate)
        check_evaluation(config, launch.sharding)
        check_batches(config.train, launch.processes)
        check_run(config, arguments.overwrite, arguments.resume)
        if not arguments.check:
            for problem in missing_packages(config.train).values():
                raise ValueError(problem)
        check_start(config)
        check_controls(config)
        if not (arguments.processes or arguments.accelerate):  # these plan a launch, perhaps on another machine
            import torch

            check_gpus(config.train, torch.cuda.device_count())
        if arguments.check:
            from rlfr_mm.training.check import check

            report = check(config, launch, _benchmarks(config))
            if os.environ.get("RANK", "0") == "0":
                print(report)
            return
        from rlfr_mm.policy import NotFinite
        from rlfr_mm.training.run import prepare

        run = prepare(config, arguments.overwrite, arguments.resume, _benchmarks(config))
    if run is None:
        folder = config.train["output_dir"]
        print(f"{folder} is finished; --overwrite instead of --resume starts again")
        print((Path(folder) / "summary.json").read_text(), end="")
        return
    command = shlex.join(["python", "-m", "rlfr_mm.train", "--config", arguments.config, *arguments.overrides])
    with one_line_errors(OSError, BadFile, NotFinite, RewardError):
        results = run.carry_out(command)
    if run.folder.write:
        print(json.dumps(results, indent=2))
        page = shlex.join(["python", "-m", "rlfr_mm.inspect", str(run.folder.path)])
        print(f"the policy is in {run.folder.path / 'final'}; {page} shows the run", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = parser_for("rlfr_mm.train", __doc__, RunConfig)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--overwrite", action="store_true", help="empty the run folder and start again")
    choice.add_argument("--resume", action="store_true", help="continue the run in the run folder")
    parser.add_argument("--check", action="store_true", help="check everything and estimate memory; train nothing")
    parser.add_argument("--processes", type=int, metavar="N", help="with --check: estimate for N processes")
    parser.add_argument(
        "--accelerate",
        metavar="FILE",
        help="with --check: estimate for the processes and sharding of this accelerate file",
    )
    return parser


def _benchmarks(config: RunConfig) -> Any:
    """What answers benchmarks during training, which the library must not import; None if that section is off."""
    if not config.benchmarks:
        return None
    from rlfr_mm.eval.engine import during_training

    return during_training


if __name__ == "__main__":
    main()
