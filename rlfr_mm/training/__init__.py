"""One training run: its stages, the trainer on TRL, the offline start, checkpoints and the run folder."""
