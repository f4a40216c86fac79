"""Make a flow field: the offline start on expert solutions, with the policy frozen.

A killed run, started again with the same configuration, goes on from its last checkpoint and ends with the same field.
"""

from rlfr_mm.config import OfflineRunConfig
from rlfr_mm.config_file import load_config, one_line_errors, parser_for


def main(argv: list[str] | None = None) -> None:
    arguments = parser_for("rlfr_mm.train_flow", __doc__, OfflineRunConfig).parse_args(argv)
    with one_line_errors():
        config: OfflineRunConfig = load_config(OfflineRunConfig, arguments.config, arguments.overrides)
        if config.offline.output_dir is None:
            raise ValueError("offline.output_dir is not set: name the folder for the field")
        from accelerate import Accelerator

        from rlfr_mm.data.load import load_demonstrations
        from rlfr_mm.data.processor import check_prompts, load_processor
        from rlfr_mm.policy import load_policy
        from rlfr_mm.training.offline import check_start, train_field

        accelerator = Accelerator()
        demonstrations = load_demonstrations(config.offline.data)
        processor = load_processor(config.model, config.offline.data)
        demonstrations = check_prompts(demonstrations, processor, config.offline.data)
        policy = load_policy(config.model).to(accelerator.device)
        folder = config.offline.output_dir
        check_start(folder, policy, config.flow, config.offline)
    train_field(policy, processor, demonstrations, config.flow, config.offline, folder, accelerator)
    accelerator.print(f"The field is in {folder}; name it as `field:` in a training configuration.")


if __name__ == "__main__":
    main()
