"""Train a flow field offline, on expert solutions and with the policy frozen.

After a kill, run the same command again: it continues from the last checkpoint and ends with the same field. SIGTERM
and SIGUSR1 write a checkpoint after the next step and end the process with status 75.

Use the precision of the later training run: `accelerate launch --mixed_precision bf16 -m rlfr_mm.train_flow ...` for
`train.bf16: true`.
"""

from contextlib import ExitStack

from rlfr_mm.config import OfflineRunConfig
from rlfr_mm.config_file import load_config, one_line_errors, parser_for
from rlfr_mm.files import LOCK, BadFile, locked
from rlfr_mm.precheck import check_flow_folder, check_paths


def main(argv: list[str] | None = None) -> None:
    arguments = parser_for("rlfr_mm.train_flow", __doc__, OfflineRunConfig).parse_args(argv)
    with ExitStack() as held:
        with one_line_errors():
            config: OfflineRunConfig = load_config(OfflineRunConfig, arguments.config, arguments.overrides)
            check_paths(config)
            check_flow_folder(config)
            from rlfr_mm.policy import NotFinite
            from rlfr_mm.training.offline import prepare
            from rlfr_mm.training.stopping import StopSignals

            start = prepare(config)
            main_process = start.accelerator.is_main_process
            if main_process:
                held.enter_context(locked(start.folder / LOCK, str(start.folder)))
        stop = StopSignals("the same command continues there", say=main_process)
        with one_line_errors(OSError, BadFile, NotFinite), stop.taken(), stop.at_steps("the last step"):
            start.run(stop)
    start.accelerator.print(f"The field is in {start.folder}; set `field: {start.folder}` in a training configuration.")


if __name__ == "__main__":
    main()
