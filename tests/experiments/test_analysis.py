"""The statistics: known values, rules for small tables, and simulations that the error rates are what they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from personalization.stages.experiments.analysis import (
    Arm,
    ConversionTest,
    Difference,
    Interval,
    SampleRatio,
    wilson,
)
from personalization.stages.experiments.power import customers_needed, minimum_detectable_effect


def test_wilson_and_newcombe_give_the_published_values() -> None:
    """Newcombe 1998, table II, first two columns: 56/70 against 48/80 and 9/10 against 3/10."""
    interval = Difference(Arm("control", 80, 48), Arm("treatment", 70, 56)).interval
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0524, 0.3339)
    interval = Difference(Arm("control", 10, 3), Arm("treatment", 10, 9)).interval
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.1705, 0.8090)
    single = wilson(Arm("one", 263, 81))
    assert single is not None  # Newcombe 1998, interval for a single proportion
    assert (round(single.low, 4), round(single.high, 4)) == (0.2553, 0.3662)


def test_the_statistic_is_scipys() -> None:
    arms = [Arm("a", 1000, 110), Arm("b", 900, 130), Arm("c", 1100, 125)]
    test = ConversionTest(arms)
    table = [[arm.conversions for arm in arms], [arm.n - arm.conversions for arm in arms]]
    reference = stats.chi2_contingency(table, correction=False)
    assert test.chi2 == pytest.approx(reference.statistic)
    assert test.p_value == pytest.approx(reference.pvalue)
    assert test.dof == reference.dof
    assert test.big_enough


@pytest.mark.parametrize(
    ("arms", "big_enough"),
    [
        ([Arm("a", 100, 5), Arm("b", 100, 5)], True),
        ([Arm("a", 100, 5), Arm("b", 100, 4)], False),  # expected 4.5
        ([Arm("a", 1110, 108), Arm("b", 373, 12), Arm("c", 36, 0)], True),  # one cell of six below 5, none below 1
        ([Arm("a", 1110, 108), Arm("b", 373, 12), Arm("c", 9, 0)], False),  # expected 0.7
        ([Arm("a", 100, 50)], False),
        ([Arm("a", 0, 0), Arm("b", 0, 0)], False),
    ],
)
def test_small_tables_are_recognised(arms: list[Arm], big_enough: bool) -> None:
    assert ConversionTest(arms).big_enough is big_enough


@pytest.mark.parametrize("arms", [[Arm("a", 0, 0), Arm("b", 5, 1)], [Arm("a", 5, 0), Arm("b", 5, 0)], [Arm("a", 5, 5)]])
def test_what_cannot_be_computed_is_none(arms: list[Arm]) -> None:
    assert ConversionTest(arms).chi2 is None
    assert ConversionTest(arms).p_value is None


def test_an_empty_arm_has_no_rate_and_no_difference() -> None:
    empty, full = Arm("control", 0, 0), Arm("treatment", 10, 5)
    assert empty.rate is None
    assert wilson(empty) is None
    assert Difference(empty, full).absolute is None
    assert Difference(empty, full).interval is None
    assert Difference(empty, full).lift is None
    assert Difference(Arm("control", 10, 0), full).lift is None


def test_more_conversions_than_customers_is_refused() -> None:
    with pytest.raises(ValueError, match="arm 'a': 3 conversions of 2 customers"):
        Arm("a", 2, 3)


def test_lift_is_relative_to_the_control() -> None:
    difference = Difference(Arm("control", 1000, 100), Arm("treatment", 1000, 125))
    assert difference.absolute == pytest.approx(0.025)
    assert difference.lift == pytest.approx(0.25)


def test_false_positives_come_at_the_level_of_the_test() -> None:
    """5,000 A/A comparisons at 5 %: the number found significant lies within the binomial 99.9 % bounds."""
    random, rounds = np.random.default_rng(20171203), 5_000
    a, b = random.binomial(700, 0.3, rounds), random.binomial(800, 0.3, rounds)
    p_values = [
        ConversionTest([Arm("a", 700, int(x)), Arm("b", 800, int(y))]).p_value for x, y in zip(a, b, strict=True)
    ]
    found = sum(p is not None and p < 0.05 for p in p_values)
    low, high = stats.binom.interval(0.999, rounds, 0.05)
    assert low <= found <= high


def test_false_positives_with_four_arms() -> None:
    random, rounds = np.random.default_rng(5), 3_000
    drawn = random.binomial(500, 0.1, (rounds, 4))
    tests = (ConversionTest([Arm(str(i), 500, int(x)) for i, x in enumerate(row)]) for row in drawn)
    found = sum(test.p_value is not None and test.p_value < 0.05 for test in tests)
    low, high = stats.binom.interval(0.999, rounds, 0.05)
    assert low <= found <= high


@pytest.mark.parametrize("rates", [(0.82, 0.84), (0.08, 0.03), (0.3, 0.3)])
def test_intervals_cover_the_truth_about_95_times_in_100(rates: tuple[float, float]) -> None:
    random, rounds = np.random.default_rng(7), 4_000
    a, b = random.binomial(1100, rates[0], rounds), random.binomial(370, rates[1], rounds)
    intervals = [
        Difference(Arm("a", 1100, int(x)), Arm("b", 370, int(y))).interval or Interval(1, -1)
        for x, y in zip(a, b, strict=True)
    ]
    covered = sum(interval.low <= rates[1] - rates[0] <= interval.high for interval in intervals) / rounds
    assert 0.94 <= covered <= 0.965


def test_a_two_percent_skew_of_20000_customers_is_an_alarm() -> None:
    assert SampleRatio({"a": 10_400, "b": 9_600}, {"a": 0.5, "b": 0.5}).mismatch  # 52 : 48
    random = np.random.default_rng(11)
    seen = sum(
        SampleRatio({"a": int(n), "b": 20_000 - int(n)}, {"a": 0.5, "b": 0.5}).mismatch
        for n in random.binomial(20_000, 0.52, 1_000)
    )
    assert seen >= 980


def test_fair_arms_hardly_ever_raise_the_alarm() -> None:
    random, rounds = np.random.default_rng(13), 5_000
    alarms = sum(
        SampleRatio({"a": int(n), "b": 5_000 - int(n)}, {"a": 0.9, "b": 0.1}).mismatch
        for n in random.binomial(5_000, 0.9, rounds)
    )
    low, high = stats.binom.interval(0.999, rounds, 0.001)
    assert low <= alarms <= high


def test_sample_ratio_at_the_edges() -> None:
    assert SampleRatio({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}).p_value is None
    assert SampleRatio({"a": 10, "b": 1}, {"a": 1.0, "b": 0.0}).mismatch
    assert SampleRatio({"a": 10, "b": 0}, {"a": 1.0, "b": 0.0}).p_value == 1.0


def test_the_detectable_effect_is_detected_with_the_stated_power() -> None:
    random, rounds = np.random.default_rng(17), 4_000
    effect = minimum_detectable_effect(1_000, 1_000, 0.3)
    assert effect is not None
    a, b = random.binomial(1_000, 0.3, rounds), random.binomial(1_000, 0.3 + effect, rounds)
    tests = (ConversionTest([Arm("a", 1_000, int(x)), Arm("b", 1_000, int(y))]) for x, y in zip(a, b, strict=True))
    found = sum(test.p_value is not None and test.p_value < 0.05 for test in tests) / rounds
    assert 0.77 <= found <= 0.83


def test_customers_needed_answers_the_same_question_the_other_way_round() -> None:
    needed = customers_needed(0.3, 0.03)
    effect = minimum_detectable_effect(needed, needed, 0.3)
    assert effect == pytest.approx(0.03, rel=0.05)
    assert minimum_detectable_effect(0, 10, 0.3) is None
    with pytest.raises(ValueError, match=r"difference of 0 from a rate of 0\.3"):
        customers_needed(0.3, 0.0)
    with pytest.raises(ValueError, match=r"difference of 0\.8 from a rate of 0\.3"):
        customers_needed(0.3, 0.8)
