"""Resumable evaluation runs, their scores, comparisons, reports and exports. Each command is `python -m eval.NAME`."""

RULES = ("strict", "official")  # the rules that verdicts can follow, listed here so that `--help` needs no grader
