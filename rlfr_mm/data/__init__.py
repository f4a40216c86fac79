"""Turn the rows of any supported dataset into TRL's columns, and check them before the first training step."""
