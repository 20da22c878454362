"""Intervals for success rates."""

import math

CONFIDENCE = 0.95


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion (Wilson 1927)."""
    from scipy import stats  # a second: the command line's --help need not wait for it

    interval = stats.binomtest(successes, episodes).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def difference(successes1: int, episodes1: int, successes2: int, episodes2: int) -> tuple[float, float, float]:
    """First minus second proportion with its 95 % interval: (difference, low, high).

    Newcombe's hybrid score interval, method 10 of "Interval estimation for the difference between independent
    proportions" (Statistics in Medicine 17, 1998), made of the two Wilson intervals.
    """
    p1, p2 = successes1 / episodes1, successes2 / episodes2
    (low1, high1), (low2, high2) = wilson(successes1, episodes1), wilson(successes2, episodes2)
    return p1 - p2, p1 - p2 - math.hypot(p1 - low1, high2 - p2), p1 - p2 + math.hypot(high1 - p1, p2 - low2)
