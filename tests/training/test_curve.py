"""The picture of a run is drawn of finished and of empty runs."""

from pathlib import Path

from PIL import Image

from rlfr_mm.training.curve import plot_run


def test_a_run_is_drawn_with_its_held_out_accuracies(tmp_path: Path):
    metrics = [{"step": step, "accuracy": 0.4 + 0.01 * step, "auc/logprob": None} for step in range(1, 21)]
    metrics[5]["auc/logprob"] = 0.7
    points = {
        name: {"accuracy": 0.5, "standard_error": 0.02, "n": 64} for name in ("accuracy_before", "accuracy_after")
    }
    for name, rows, summary in (("full", metrics, points), ("empty", [], {})):
        plot_run(rows, {"method": "flow", "seed": 0} | summary, tmp_path / f"{name}.png")
    full, empty = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("full", "empty"))
    for step in (10, 20):
        metrics[step - 1] |= {"held_out/accuracy": None if step == 10 else 0.6, "held_out/standard_error": 0.02}
    plot_run(metrics, {"method": "flow", "seed": 0} | points, tmp_path / "during.png")
    assert (tmp_path / "during.png").read_bytes() != (tmp_path / "full.png").read_bytes()
    assert full.size == empty.size and len(full.getcolors(1 << 20)) > len(empty.getcolors(1 << 20))
