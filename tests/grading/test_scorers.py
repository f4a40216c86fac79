from rlfr_mm.grading import SCORERS


def test_every_benchmark_has_a_scorer_with_two_rules():
    assert set(SCORERS) == {
        "math", "choice", "math500", "minerva_math", "gsm8k", "olympiadbench", "mathvista", "mathvision", "mathverse",
        "wemath", "logicvista", "visulogic", "dynamath", "geometry3k",
    }  # fmt: skip
    for name, scorer in SCORERS.items():
        assert scorer.name == name and scorer.version
