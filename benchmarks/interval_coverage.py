"""Simulate the coverage of the 95 % intervals and the false positives of the tests in rlfr_mm/statistics.py.

python benchmarks/interval_coverage.py [--json OUT]

Problems have chances of success that are beta distributed around p; coverage is averaged over p in [0.1, 0.9]. In
`differences`, the interval is the one that eval.compare prints for two runs on the same problems: the second run's
chances lie higher by `gain` overall (p in [0.1, 0.8]). False alarms are those of the test over seeds and problems at
5 %, for two methods that do not differ but whose seeds do.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from rlfr_mm import statistics as stats


def coverage(n: int, samples: int, repeats: int, generator: np.random.Generator) -> float:
    inside = []
    for p in np.linspace(0.1, 0.9, 17):
        chance = generator.beta(2 * p, 2 * (1 - p), size=(repeats, n))
        intervals = [stats.score_interval(scores) for scores in generator.binomial(samples, chance) / samples]
        inside += [interval.low <= p <= interval.high for interval in intervals]
    return float(np.mean(inside))


def difference_coverage(n: int, samples: int, gain: float, repeats: int, generator: np.random.Generator) -> float:
    inside = []
    for p in np.linspace(0.1, 0.8, 8):
        chance = generator.beta(2 * p, 2 * (1 - p), size=(repeats, n))
        better = chance + gain / (1 - p) * (1 - chance)
        pairs = zip(generator.binomial(samples, chance), generator.binomial(samples, better), strict=True)
        intervals = [stats.paired_test(a / samples, b / samples).interval for a, b in pairs]
        inside += [interval.low <= gain <= interval.high for interval in intervals]
    return float(np.mean(inside))


def false_alarms(seeds: int, problems: int, deviation: float, repeats: int, generator: np.random.Generator) -> float:
    found = []
    for _ in range(repeats):
        difficulty = generator.normal(0, 1.5, problems)
        effects = generator.normal(0, deviation, (2, seeds, 1))
        arms = generator.random((2, seeds, problems)) < 1 / (1 + np.exp(-difficulty - effects))
        found.append(stats.paired_seeds(*arms).p < 0.05)
    return float(np.mean(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    summary: dict[str, list[dict]] = {"coverage": [], "differences": [], "false_alarms": []}
    for n in (30, 300, 1000):
        for samples in (1, 8):
            found = coverage(n, samples, args.repeats, generator)
            summary["coverage"].append({"problems": n, "samples": samples, "coverage": round(found, 4)})
            print(summary["coverage"][-1])
    for n in (10, 30, 100, 300):
        for samples in (1, 8):
            for gain in (0.0, 0.1):
                found = difference_coverage(n, samples, gain, args.repeats // 2, generator)
                case = {"problems": n, "samples": samples, "gain": gain, "coverage": round(found, 4)}
                summary["differences"].append(case)
                print(case, flush=True)
    for seeds in (2, 3, 5, 10):
        for deviation in (0.0, 0.3):
            found = false_alarms(seeds, 300, deviation, 2 * args.repeats, generator)
            case = {"seeds": seeds, "problems": 300, "seed_deviation_logit": deviation}
            summary["false_alarms"].append(case | {"at_5_percent": round(found, 4)})
            print(summary["false_alarms"][-1])
    if args.json:
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    found_at = summary["coverage"] + summary["differences"]
    held = all(0.94 <= one["coverage"] <= 0.96 for one in found_at if one["problems"] >= 300)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
