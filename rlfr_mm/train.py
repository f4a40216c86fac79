"""Train a policy with flow rewards: one command, one YAML file, one run folder.

The run folder holds:
  config.yaml                    all settings of the run
  metrics.jsonl                  one row per policy step
  rollouts/                      rollouts with the rewards of each token
  checkpoint-N                   what --resume continues from, exactly as if the run had never been killed
  evaluation_before.jsonl, evaluation_after.jsonl    the held-out answers
  curve.png, summary.json        the results
  final/                         the policy, its processor and, in flow/, the field
  bad_steps/                     batches of steps that were skipped because something was not finite

SIGTERM and SIGUSR1 write a checkpoint after the next step and end the process with status 75. Ctrl-C ends it at once.
In both cases, and after a kill, the same command with --resume continues the run.
"""

import json
import shlex
from pathlib import Path

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import load_config, one_line_errors, parser_for
from rlfr_mm.files import BadFile


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("rlfr_mm.train", __doc__, RunConfig)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--overwrite", action="store_true", help="empty the run folder and start again")
    choice.add_argument("--resume", action="store_true", help="continue the run in the run folder")
    arguments = parser.parse_args(argv)
    benchmarks = None
    with one_line_errors():
        config: RunConfig = load_config(RunConfig, arguments.config, arguments.overrides)
        config.train["output_dir"] = config.train.get("output_dir") or f"runs/{Path(arguments.config).stem}"
        from rlfr_mm.training.bad_steps import Diverged
        from rlfr_mm.training.run import prepare

        if config.benchmarks:
            from rlfr_mm.eval.engine import during_training

            benchmarks = during_training
        run = prepare(config, arguments.overwrite, arguments.resume, benchmarks)
    if run is None:
        folder = config.train["output_dir"]
        print(f"{folder} is finished; --overwrite starts again")
        print((Path(folder) / "summary.json").read_text(), end="")
        return
    command = shlex.join(["python", "-m", "rlfr_mm.train", "--config", arguments.config, *arguments.overrides])
    with one_line_errors(OSError, BadFile, Diverged):
        results = run.carry_out(command)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
