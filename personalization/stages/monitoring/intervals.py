"""Wilson's interval in plain Python. The experiments stage has the same, but loading its scipy takes seconds."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # half width of a 95 % interval of the normal distribution, in standard errors


def wilson(n: int, successes: int) -> tuple[float, float]:
    """Low and high end of the 95 % score interval of `successes / n`, for `n` > 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    rate, square = successes / n, Z_95 * Z_95
    centre = (successes + square / 2) / (n + square)
    half = Z_95 * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, centre - half), min(1.0, centre + half)
