"""The list of tasks shows which official rules are real."""

from rlfr_mm.tasks import list as listing
from rlfr_mm.tasks.registry import task


def test_tasks_without_a_rule_of_their_benchmark_are_marked(capsys):
    """MathVerse and Geometry3K use a judge model and AIME has no scorer, so `official` cannot reproduce theirs."""
    for name, said in {
        "rlfr_mathverse_testmini": "as strict",
        "rlfr_geometry3k": "as strict",
        "rlfr_aime24": "as strict",
        "rlfr_mathvista_testmini": "own",
        "rlfr_gsm8k": "own",
    }.items():
        assert dict(zip(listing.COLUMNS, listing.line(task(name)), strict=True))["official rule"] == said
    listing.main([])
    assert "judge model" in capsys.readouterr().out
