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
from rlfr_mm.grading.strict import benchmarks as strict
from rlfr_mm.grading.strict.rules import (
    compare_answer,
    compare_letters,
    compare_option,
    find_answer,
    find_letters,
    find_option,
)

_ANSWER = Rule(find_answer, compare_answer)
_OPTION = Rule(find_option, compare_option)

_SCORERS = (
    # AIME, AMC and training data: they have no scorer of their own, and the field uses math-verify
    Scorer("math", "2", _ANSWER, _ANSWER),
    # the scorers of these two are judge models
    Scorer("mathverse", "2", _ANSWER, _ANSWER),
    Scorer("geometry3k", "2", _ANSWER, _ANSWER),
    Scorer("choice", "2", _OPTION, Rule(find_or_guess, compare_option)),
    Scorer("math500", "2", _ANSWER, Rule(math500.find, math500.compare)),
    Scorer(
        "minerva_math",
        "2",
        Rule(find_answer, numbers_first(compare_answer)),
        Rule(math500.find, numbers_first(math500.compare)),
    ),
    Scorer("gsm8k", "2", Rule(strict.find_gsm8k, compare_answer), Rule(gsm8k.find, gsm8k.compare)),
    Scorer("olympiadbench", "2", _ANSWER, Rule(olympiadbench.find, olympiadbench.compare)),
    Scorer(
        "mathvista",
        "2",
        Rule(strict.find_mathvista, strict.compare_mathvista),
        Rule(mathvista.find, mathvista.compare),
    ),
    Scorer("mathvision", "2", _ANSWER, Rule(mathvision.find, mathvision.compare)),
    Scorer("wemath", "2", Rule(strict.find_wemath, compare_option), Rule(wemath.find, compare_letters)),
    Scorer("logicvista", "2", Rule(find_letters, compare_letters), Rule(logicvista.find, compare_letters)),
    Scorer("visulogic", "2", _OPTION, Rule(visulogic.find, compare_letters)),
    Scorer(
        "dynamath",
        "2",
        Rule(strict.find_dynamath, strict.compare_dynamath),
        Rule(dynamath.find, dynamath.compare),
    ),
)
SCORERS: dict[str, Scorer] = {scorer.name: scorer for scorer in _SCORERS}
