"""How small a difference a comparison of two rates can see, and how many customers a given difference needs."""

from __future__ import annotations

import math

from scipy import stats


def minimum_detectable_effect(
    control: int, treatment: int, base_rate: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest difference of rates found with probability `power` by a two-sided test at level `alpha`.

    Parameters
    ----------
    control, treatment : int
        Customers per arm.
    base_rate : float
        The control's rate; both arms' variances are taken at it, which is right for small differences.

    Returns
    -------
    float or None
        A difference of rates (0.02 = two percentage points); None for an empty arm.
    """
    if not control or not treatment:
        return None
    return _quantiles(alpha, power) * math.sqrt(base_rate * (1 - base_rate) * (1 / control + 1 / treatment))


def customers_needed(base_rate: float, difference: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Customers per arm, for two arms of equal size, to find `difference` with probability `power`.

    Raises `ValueError` when the difference is zero or leads to a rate outside [0, 1].
    """
    rate = base_rate + difference
    if difference == 0 or not 0 <= base_rate <= 1 or not 0 <= rate <= 1:
        raise ValueError(f"a difference of {difference:g} from a rate of {base_rate:g} can't be planned for")
    variance = base_rate * (1 - base_rate) + rate * (1 - rate)
    return math.ceil(_quantiles(alpha, power) ** 2 * variance / difference**2)


def _quantiles(alpha: float, power: float) -> float:
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
