"""The registry of scorers: each name's version, strict rule and official rule.

Raise a scorer's version when its verdicts change.
"""

from rlfr_mm.grading.item import Rule, Scorer
from rlfr_mm.grading.official import (
    dynamath,
    gsm8k,
    logicvista,
    math500,
    mathvision,
    mathvista,
    olympiadbench,
    visulogic,
    wemath,
)
from rlfr_mm.grading.official.judge import find_or_guess
from rlfr_mm.grading.official.minerva_math import numbers_first
from rlfr_mm.grading.strict import benchmarks, rules

_ANSWER = Rule(rules.find_answer, rules.compare_answer)
_OPTION = Rule(rules.find_option, rules.compare_option)
_MINERVA = Rule(rules.find_answer, numbers_first(rules.compare_answer))
_MINERVA_OFFICIAL = Rule(math500.find, numbers_first(math500.compare))
_MATHVISTA = Rule(benchmarks.find_mathvista, benchmarks.compare_mathvista)
_DYNAMATH = Rule(benchmarks.find_dynamath, benchmarks.compare_dynamath)

_SCORERS = (
    # AIME, AMC and training data: they have no scorer of their own, and the field uses math-verify
    Scorer("math", "6", _ANSWER, _ANSWER),
    # the scorers of these two are judge models
    Scorer("mathverse", "6", _ANSWER, _ANSWER),
    Scorer("geometry3k", "6", _ANSWER, _ANSWER),
    Scorer("choice", "6", _OPTION, Rule(find_or_guess, rules.compare_option)),
    Scorer("math500", "6", _ANSWER, Rule(math500.find, math500.compare)),
    Scorer("minerva_math", "6", _MINERVA, _MINERVA_OFFICIAL),
    Scorer("gsm8k", "6", Rule(benchmarks.find_gsm8k, rules.compare_answer), Rule(gsm8k.find, gsm8k.compare)),
    Scorer("olympiadbench", "6", _ANSWER, Rule(olympiadbench.find, olympiadbench.compare)),
    Scorer("mathvista", "6", _MATHVISTA, Rule(mathvista.find, mathvista.compare)),
    Scorer("mathvision", "6", _ANSWER, Rule(mathvision.find, mathvision.compare)),
    Scorer("wemath", "6", Rule(benchmarks.find_wemath, rules.compare_option), Rule(wemath.find, rules.compare_letters)),
    Scorer(
        "logicvista", "5", Rule(rules.find_letters, rules.compare_letters), Rule(logicvista.find, rules.compare_letters)
    ),
    Scorer("visulogic", "6", _OPTION, Rule(visulogic.find, rules.compare_letters)),
    Scorer("dynamath", "6", _DYNAMATH, Rule(dynamath.find, dynamath.compare)),
)
SCORERS: dict[str, Scorer] = {scorer.name: scorer for scorer in _SCORERS}
