"""The rows of metrics.jsonl."""

from pathlib import Path

from rlfr_mm.files import read_json_lines
from rlfr_mm.training.callbacks import MetricsWriter
from tests.tiny_trainer import make_trainer


def test_what_is_gathered_after_the_last_full_interval_has_its_row(tiny_policy: Path, tmp_path: Path):
    settings = {"advantage_shaping": "none", "per_device_train_batch_size": 4}
    rows = []
    for steps in (1, 2):
        run = tmp_path / str(steps)
        trainer = make_trainer(tiny_policy, run, logging_steps=steps, **settings)
        trainer.add_callback(MetricsWriter(run))
        trainer.train()
        rows.append(read_json_lines(run / "metrics.jsonl"))
    assert [[row["step"] for row in written] for written in rows] == [[1, 2, 3], [2, 3]]
    (first, second, third), (both, last) = rows
    for name in ("loss", "entropy", "reward"):
        assert abs(both[name] - (first[name] + second[name]) / 2) < 1e-6 and last[name] == third[name]
