"""Conversion tables: chi-squared test, differences with Newcombe intervals, and the sample-ratio check.

Each test is a small class with one property per quantity. What can't be computed is None, never an exception: a
read-out is a report, and a report that fails tells nobody anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

SRM_LEVEL = 0.001  # a stricter level than the test's: a sample-ratio alarm discards the whole read-out
SMALLEST_EXPECTED = 5.0


@dataclass(frozen=True)
class Arm:
    """Customers of one arm and how many of them converted."""

    name: str
    n: int
    conversions: int

    def __post_init__(self) -> None:
        if not 0 <= self.conversions <= self.n:
            raise ValueError(f"arm '{self.name}': {self.conversions} conversions of {self.n} customers")

    @property
    def rate(self) -> float | None:
        return self.conversions / self.n if self.n else None


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def wilson(arm: Arm, level: float = 0.95) -> Interval | None:
    """Wilson's score interval for one rate; None for an empty arm.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if arm.rate is None:
        return None
    z = float(stats.norm.ppf(0.5 + level / 2))
    centre = (arm.conversions + z * z / 2) / (arm.n + z * z)
    half = z * math.sqrt(arm.rate * (1 - arm.rate) / arm.n + z * z / (4 * arm.n**2)) / (1 + z * z / arm.n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class Difference:
    """What an arm converts more than the control, as a difference of rates and as relative lift.

    Parameters
    ----------
    control, treatment : Arm
    level : float
        Coverage of the interval; 0.95 unless several arms share one control.

    References
    ----------
    R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17 (1998), method 10.
    """

    control: Arm
    treatment: Arm
    level: float = 0.95

    @property
    def absolute(self) -> float | None:
        """Difference of rates, in [-1, 1]."""
        if self.control.rate is None or self.treatment.rate is None:
            return None
        return self.treatment.rate - self.control.rate

    @property
    def lift(self) -> float | None:
        """Difference as a share of the control's rate; None when nobody in the control converted."""
        return self.absolute / self.control.rate if self.absolute is not None and self.control.rate else None

    @property
    def interval(self) -> Interval | None:
        """Newcombe's hybrid score interval of the difference."""
        control, treatment = wilson(self.control, self.level), wilson(self.treatment, self.level)
        if control is None or treatment is None or self.absolute is None:
            return None
        base, rate = self.control.rate or 0.0, self.treatment.rate or 0.0
        return Interval(
            self.absolute - math.hypot(rate - treatment.low, control.high - base),
            self.absolute + math.hypot(treatment.high - rate, base - control.low),
        )


@dataclass(frozen=True)
class ConversionTest:
    """Pearson's chi-squared test that all arms convert at one rate (2 x k table, no continuity correction)."""

    arms: Sequence[Arm]

    @cached_property
    def expected(self) -> np.ndarray:
        """Expected counts, one row for converted and one for not, one column per arm."""
        sizes = np.array([arm.n for arm in self.arms], dtype=float)
        converted = float(sum(arm.conversions for arm in self.arms))
        total = sizes.sum()
        shares = np.array([converted, total - converted]) / total if total else np.zeros(2)
        return np.outer(shares, sizes)

    @property
    def dof(self) -> int:
        return len(self.arms) - 1

    @property
    def big_enough(self) -> bool:
        """Cochran's rule: a 2 x 2 table needs every expected count to be at least 5; a larger one may have a fifth of
        them below 5, but none below 1.

        References
        ----------
        W. G. Cochran, "Some methods for strengthening the common chi-squared tests", Biometrics 10 (1954).
        """
        if self.dof < 1:
            return False
        small = self.expected < SMALLEST_EXPECTED
        if self.dof == 1:
            return not bool(small.any())
        return bool(small.mean() <= 0.2) and bool(self.expected.min() >= 1)

    @cached_property
    def chi2(self) -> float | None:
        """The statistic; None when a row or column of the table is empty."""
        if self.dof < 1 or not (self.expected > 0).all():
            return None
        observed = np.array([[arm.conversions for arm in self.arms], [arm.n - arm.conversions for arm in self.arms]])
        return float(((observed - self.expected) ** 2 / self.expected).sum())

    @property
    def p_value(self) -> float | None:
        return None if self.chi2 is None else float(stats.chi2.sf(self.chi2, self.dof))


@dataclass(frozen=True)
class SampleRatio:
    """Are the arms as large as declared? If not, something removes customers from one arm, and no read-out is valid.

    Parameters
    ----------
    sizes : mapping of str to int
        Customers counted per arm.
    shares : mapping of str to float
        Declared share per arm; the same arms.
    """

    sizes: Mapping[str, int]
    shares: Mapping[str, float]

    @property
    def p_value(self) -> float | None:
        """Chi-squared goodness of fit; None without customers. An arm of share 0 with customers gives 0."""
        total = sum(self.sizes.values())
        if not total:
            return None
        expected = {arm: share * total for arm, share in self.shares.items() if share > 0}
        if any(size for arm, size in self.sizes.items() if arm not in expected):
            return 0.0
        chi2 = sum((self.sizes.get(arm, 0) - count) ** 2 / count for arm, count in expected.items())
        return float(stats.chi2.sf(chi2, len(expected) - 1)) if len(expected) > 1 else 1.0

    @property
    def mismatch(self) -> bool:
        return self.p_value is not None and self.p_value < SRM_LEVEL
