"""Train a flow field offline, on expert solutions and with the policy frozen.

After a kill, run the same command again: it continues from the last checkpoint and ends with the same field.

Use the precision of the later training run: `accelerate launch --mixed_precision bf16 -m rlfr_mm.train_flow ...` for
`train.bf16: true`.
"""

from rlfr_mm.config import OfflineRunConfig
from rlfr_mm.config_file import load_config, one_line_errors, parser_for
from rlfr_mm.precheck import check_paths


def main(argv: list[str] | None = None) -> None:
    arguments = parser_for("rlfr_mm.train_flow", __doc__, OfflineRunConfig).parse_args(argv)
    with one_line_errors():
        config: OfflineRunConfig = load_config(OfflineRunConfig, arguments.config, arguments.overrides)
        check_paths(config)
        from rlfr_mm.training.offline import prepare

        start = prepare(config)
    start.run()
    start.accelerator.print(f"The field is in {start.folder}; set `field: {start.folder}` in a training configuration.")


if __name__ == "__main__":
    main()
