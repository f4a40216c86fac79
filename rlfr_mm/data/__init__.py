"""From the rows of any supported dataset to TRL's columns, checked before the first step."""
