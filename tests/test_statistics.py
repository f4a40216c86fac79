"""Intervals cover, tests keep their level, and both agree with scipy and statsmodels."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

from rlfr_mm import statistics as stats


@given(st.integers(1, 400), st.data())
@settings(max_examples=60, deadline=None)
def test_interval_of_single_samples_is_wilsons(n, data):
    k = data.draw(st.integers(0, n))
    interval = stats.score_interval([1.0] * k + [0.0] * (n - k))
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@given(st.integers(2, 60), st.integers(0, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_equal_scores_have_the_interval_of_so_many_problems_whatever_their_rounding(n, part, parts):
    score = min(part / parts, 1.0)
    interval = stats.score_interval([score] * n)
    assert 0 <= interval.low <= score + 1e-12 and score - 1e-12 <= interval.high <= 1
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(score * n, n, method="wilson"), abs=1e-9)


def test_repeating_every_sample_does_not_narrow_the_interval():
    scores = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    repeated = np.stack([scores, scores, scores]).mean(axis=0)
    assert stats.score_interval(repeated) == stats.score_interval(scores)


def test_variants_of_one_question_count_as_one_question():
    scores = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    variants = scores.repeat(10)
    one, ten = stats.score_interval(scores), stats.score_interval(variants, clusters=np.repeat(list("abcde"), 10))
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).random(40)
    groups = values.reshape(-1, 1).tolist()
    by_hand = values.std(ddof=1) / np.sqrt(40)
    assert stats.jackknife_stderr(lambda rows: float(np.mean(rows)), groups) == pytest.approx(by_hand)
    assert stats.jackknife_stderr(lambda rows: float(np.mean(rows)), groups, 20) == pytest.approx(by_hand, rel=0.4)
    assert np.isnan(stats.jackknife_stderr(lambda rows: float(np.mean(rows)), groups[:1]))


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("n", [300, 1000])
def test_intervals_cover_95_percent_averaged_over_p(n, samples):
    """Problems of differing difficulty (beta distributed around p), `samples` samples each."""
    generator = np.random.default_rng(n + samples)
    inside = total = 0
    for p in np.linspace(0.1, 0.9, 17):
        chance = generator.beta(2 * p, 2 * (1 - p), size=(600, n))
        for scores in generator.binomial(samples, chance) / samples:
            interval = stats.score_interval(scores)
            inside += interval.low <= p <= interval.high
            total += 1
    assert 0.94 <= inside / total <= 0.96


def test_paired_bootstrap_interval_agrees_with_scipys():
    a, b = np.random.default_rng(0).beta(2, 1, (2, 200))
    ours = stats.paired_bootstrap(a, b)
    theirs = scipy_stats.bootstrap((b - a,), np.mean, method="percentile", rng=1).confidence_interval
    assert (ours.interval.low, ours.interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert stats.paired_bootstrap(a, b) == ours


def test_problems_that_could_not_be_graded_are_left_out_in_every_seed_of_both_methods():
    a, b = np.random.default_rng(0).random((2, 3, 20))
    kept = stats.paired_test(np.delete(a, [4, 7], axis=1), np.delete(b, [4, 7], axis=1))
    a[0, 4] = b[2, 7] = np.nan
    assert stats.paired_test(a, b) == dataclasses.replace(kept, left_out=2)
    one = stats.paired_test(a.repeat(4, axis=1)[0], b.repeat(4, axis=1)[0])
    assert (one.method, one.problems, one.left_out) == ("paired bootstrap", 76, 4)


def test_the_interval_excludes_zero_where_p_is_below_the_level():
    """Interval and p come from the same test, so that they cannot contradict each other."""
    generator = np.random.default_rng(0)
    for seeds, problems in ((1, 20), (1, 80), (4, 30)):
        for _ in range(40):
            a, b = generator.binomial(1, [[[0.4]], [[0.55]]], (2, seeds, problems))
            test = stats.paired_test(a, b)
            if not 0.045 < test.p < 0.055:  # the bootstrap's interval and p are counted in steps
                assert (test.interval.low > 0 or test.interval.high < 0) == (test.p < 0.05)
    for problems in range(2, 60):
        for eighths in range(9):
            test = stats.paired_test([0] * problems, [eighths / 8] * problems)
            assert (test.interval.low > 0) == (test.p < 0.05)


def test_a_bootstrap_interval_needs_fifty_units_and_agrees_with_the_standard_error():
    values = np.random.default_rng(3).normal(5, 2, size=400)
    totals = np.stack([values, np.ones(400)], axis=1)
    interval = stats.bootstrap_interval(totals, lambda sums: sums[..., 0] / sums[..., 1], resamples=1000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval.low < values.mean() < interval.high
    assert stats.bootstrap_interval(totals[:50], lambda sums: sums[..., 0]) is not None
    assert stats.bootstrap_interval(totals[:49], lambda sums: sums[..., 0]) is None


def test_pairs_lie_within_a_group_and_leave_out_the_ungraded():
    pairs = stats.within_group_pairs([1, 0, 0, 0, np.nan, np.nan], [0, 1, 0, 2, 0, 1])
    assert pairs.tolist() == [[0, 2]]
    assert stats.wins(np.array([0.5, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("gain", [0.0, 0.1])
@pytest.mark.parametrize(("n", "samples", "repeats"), [(10, 1, 600), (10, 8, 600), (30, 8, 600), (100, 8, 60)])
def test_intervals_of_a_difference_cover_it(n, samples, repeats, gain):
    """Both methods meet problems of the same difficulty; the chances of B are higher by `gain` overall."""
    generator = np.random.default_rng(n + samples)
    inside = []
    for p in np.linspace(0.1, 0.8, 8):
        chance = generator.beta(2 * p, 2 * (1 - p), size=(repeats, n))
        better = chance + gain / (1 - p) * (1 - chance)
        pairs = zip(generator.binomial(samples, chance), generator.binomial(samples, better), strict=True)
        intervals = [stats.paired_test(a / samples, b / samples).interval for a, b in pairs]
        inside += [interval.low <= gain <= interval.high for interval in intervals]
    assert 0.93 <= np.mean(inside) <= 0.985


def test_differences_without_spread_keep_an_interval():
    """Two problems that both gained an eighth are no evidence; thirty without a difference leave 11 % open."""
    few = stats.paired_test([0, 0], [0.125, 0.125])
    assert few.p > 0.5 and few.interval.low < -0.5 and few.interval.high > 0.5
    equal = stats.paired_test([0, 1, 1] * 10, [0, 1, 1] * 10)
    wilson = stats.score_interval([0] * 30).high  # of the share of problems on which two methods differ
    assert (equal.interval.low, equal.interval.high, equal.p) == (pytest.approx(-wilson), pytest.approx(wilson), 1.0)
    for a, b in (([[0.1] * 100] * 3, [[0.3] * 100] * 3), ([0.1] * 100, [0.3] * 100)):
        same = stats.paired_test(a, b)
        assert same.standard_error == 0.0 and same.interval.low < 0.2 < same.interval.high
        assert same.p == pytest.approx(2 * scipy_stats.norm.sf(20**0.5))
    gained = stats.paired_test([0] * 30, [1] * 30)
    assert gained.interval.high == pytest.approx(1.0) and gained.interval.low < 0.8


def test_the_bootstrap_is_for_many_problems_of_one_seed():
    a, b = np.random.default_rng(0).random((2, 50))
    assert stats.paired_test(a, b) == stats.paired_bootstrap(a, b)
    assert stats.paired_test(a[:49], b[:49]) == stats.paired_seeds(a[:49], b[:49])
    assert stats.paired_test([a, b], [b, b]) == stats.paired_seeds([a, b], [b, b])


def test_paired_bootstrap_agrees_with_the_paired_t_test_on_many_problems():
    generator = np.random.default_rng(0)
    a = generator.binomial(1, 0.5, 2000)
    b = np.where(generator.random(2000) < 0.1, 1 - a, a) | (generator.random(2000) < 0.02)
    ours, t = stats.paired_bootstrap(a, b), scipy_stats.ttest_rel(b, a)
    interval = t.confidence_interval()
    assert ours.difference == pytest.approx((b - a.astype(float)).mean())
    assert (ours.interval.low, ours.interval.high) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert ours.p == pytest.approx(t.pvalue, abs=0.01)


def test_one_seed_is_the_paired_t_test():
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 40))
    ours, t = stats.paired_seeds(a, b), scipy_stats.ttest_rel(b, a)
    interval = t.confidence_interval()
    assert (ours.p, ours.interval.low, ours.interval.high) == pytest.approx((t.pvalue, interval.low, interval.high))


def test_swapping_the_methods_changes_the_sign_only():
    a, b = np.random.default_rng(0).random((2, 3, 20))
    forth, back = stats.paired_seeds(a, b), stats.paired_seeds(b, a)
    assert forth.difference == -back.difference
    assert forth.p == pytest.approx(back.p)
    assert forth.interval.low == pytest.approx(-back.interval.high)


def test_problems_repeated_by_every_seed_are_no_new_evidence():
    """When all seeds give the same answers, the seeds add nothing: the error stays that of the problems."""
    a, b = np.random.default_rng(0).binomial(1, 0.5, (2, 1, 50)).astype(float)
    one, five = stats.paired_seeds(a, b), stats.paired_seeds(a.repeat(5, 0), b.repeat(5, 0))
    assert five.standard_error == pytest.approx(one.standard_error)
    assert five.p == pytest.approx(one.p)


@pytest.mark.parametrize("seed_deviation", [0.0, 0.3])
def test_seed_test_keeps_its_level_when_seeds_and_problems_vary(seed_deviation):
    """Ten seeds, 100 problems, no difference between the methods: about 5 % false alarms, where a test that pools
    all answers as independent gives far more as soon as seeds differ."""
    generator = np.random.default_rng(1)
    ours = pooled = 0
    for _ in range(800):
        difficulty = generator.normal(0, 1.5, 100)
        arms = [
            generator.random((10, 100)) < 1 / (1 + np.exp(-difficulty - generator.normal(0, seed_deviation, (10, 1))))
            for _ in range(2)
        ]
        ours += stats.paired_seeds(*arms).p < 0.05
        pooled += scipy_stats.ttest_rel(arms[0].ravel().astype(float), arms[1].ravel().astype(float)).pvalue < 0.05
    assert 0.01 <= ours / 800 <= 0.07
    assert seed_deviation == 0 or pooled / 800 > 0.1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_agrees_with_statsmodels(p):
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_minimal_detectable_difference_agrees_with_statsmodels():
    n, deviation = 500, 0.6
    expected = NormalIndPower().solve_power(nobs1=n, alpha=0.05, power=0.8, ratio=0) * deviation
    assert stats.minimal_detectable_difference(deviation / np.sqrt(n)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("comparisons", [1, 10])
def test_few_seeds_find_the_detectable_difference_with_the_stated_power_and_correction(comparisons):
    """Eight seeds: quantiles of the t distribution, and the smallest p compared with 0.05 / comparisons."""
    generator = np.random.default_rng(0)
    spread = 0.05 / np.sqrt(8)  # seeds alone vary
    difference = stats.minimal_detectable_difference(spread, alpha=0.05 / comparisons, freedom=7.0)
    found, detectable = 0, []
    for _ in range(1000):
        effects = difference + generator.normal(0, 0.05, (8, 1)).repeat(20, axis=1)
        test = stats.paired_seeds(np.zeros((8, 20)), effects)
        found += test.p * comparisons < 0.05
        detectable.append(test.detectable_among(comparisons))
    assert found / 1000 == pytest.approx(0.8, abs=0.05)
    assert np.mean(detectable) == pytest.approx(difference, rel=0.05)


def test_minimal_detectable_difference_is_found_with_the_stated_power():
    generator = np.random.default_rng(0)
    n = 400
    difference = stats.minimal_detectable_difference(0.5 / np.sqrt(n))
    found = sum(stats.paired_seeds(np.zeros(n), generator.normal(difference, 0.5, n)).p < 0.05 for _ in range(1000))
    assert found / 1000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: stats.score_interval([]), "at least one problem"),
        (lambda: stats.score_interval([1.5, 1.5]), "1.5"),
        (lambda: stats.paired_test([1, 0], [1]), "same problems"),
        (lambda: stats.paired_test([1, np.nan], [1, 1]), "at least 2 problems"),
        (lambda: stats.paired_seeds([[1.0]], [[0.0]]), "at least 2 problems"),
    ],
)
def test_unusable_scores_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
