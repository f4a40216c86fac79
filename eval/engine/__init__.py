"""The engines behind the evaluation commands: back ends, plans, runs on disk, scores, comparisons, reports."""
