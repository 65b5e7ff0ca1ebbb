"""How sure a metric is: the SQL of an interval around it, over the sessions it is computed from.

Nothing is drawn at random, so the same sessions give the same interval:

* a share of sessions: Wilson's score interval, which is right for small samples and for shares near 0 and 1;
* any other ratio of sums: its normal approximation, with the variance of a ratio of means, if the sample is large;
* a mean: its normal approximation, if the sample is large;
* a percentile: between two of the sorted values, whose ranks the binomial distribution gives, whatever the values;
* a sum has none.

Sessions count as independent of each other. Those of one viewer are not quite, so intervals are a bit too narrow.
"""

from lake.metrics import Metric

NORMAL_FROM = 100
"""Sessions from which on a normal approximation is trusted: a few long stalls make most of a sum."""


def measure_sql(metric: Metric, errors: float) -> str:
    """Return an aggregate over `counted_sessions`: a struct of `metric`, `n`, `value`, `low` and `high`.

    `n` is how many sessions the value is computed from, and `errors` how many standard errors a bound is away from
    it. A bound is null if the sample is too small to have one.
    """
    low, high = _bounds(metric, errors)
    return (
        f"{{metric: '{metric.name}', n: {metric.sample_sql}, value: ({metric.sql})::DOUBLE, "
        f"low: ({low})::DOUBLE, high: ({high})::DOUBLE}}"
    )


def difference_sql(newer: str, older: str) -> str:
    """Return a struct of `difference`, `low` and `high`: one measure minus another, over separate sessions.

    The distance of the measures from their own bounds gives that of the difference (Newcombe 1998; Zou and Donner
    2008), so what was asymmetric remains so.
    """
    value = f"{newer}.value - {older}.value"
    below = f"sqrt(pow({newer}.value - {newer}.low, 2) + pow({older}.high - {older}.value, 2))"
    above = f"sqrt(pow({newer}.high - {newer}.value, 2) + pow({older}.value - {older}.low, 2))"
    return f"{{difference: {value}, low: {value} - {below}, high: {value} + {above}}}"


def _bounds(metric: Metric, errors: float) -> tuple[str, str]:
    match metric.how:
        case "sum":
            return "NULL", "NULL"
        case "ratio" if _is_share(metric):
            value = metric.session_sql
            return share_bounds_sql(f"avg({value})", f"count({value})", errors)
        case "ratio":
            return _of_ratio(metric.session_sql, metric.session_below_sql, errors)
        case "mean":
            value = metric.session_sql
            n = f"count({value})"
            return _if_normal(n, _around(f"avg({value})", f"stddev_samp({value}) / sqrt({n})", errors))
        case "median" | "p75" | "p95":
            assert metric.quantile is not None
            return _of_percentile(metric.session_sql, metric.quantile, errors)


def _is_share(metric: Metric) -> bool:
    """Return whether a metric is a share of sessions: each of them counts or does not."""
    return metric.unit == "ratio" and metric.denominator == "1"


def _around(value: str, error: str, errors: float) -> tuple[str, str]:
    return f"{value} - {errors} * {error}", f"{value} + {errors} * {error}"


def _if_normal(n: str, bounds: tuple[str, str]) -> tuple[str, str]:
    low, high = (f"if({n} < {NORMAL_FROM}, NULL, {bound})" for bound in bounds)
    return low, high


def share_bounds_sql(share: str, n: str, errors: float) -> tuple[str, str]:
    """Return Wilson's bounds of a share of `n` sessions: null without sessions."""
    square = errors * errors
    middle = f"({share} + {square} / (2 * {n}))"
    half = f"{errors} * sqrt({share} * (1 - {share}) / {n} + {square} / (4 * {n} * {n}))"
    # At the ends rounding may leave a bound 1e-17 outside.
    low, high = (f"({middle} {sign} {half}) / (1 + {square} / {n})" for sign in "-+")
    return f"if({n} = 0, NULL, greatest({low}, 0))", f"if({n} = 0, NULL, least({high}, 1))"


def _of_ratio(above: str, below: str, errors: float) -> tuple[str, str]:
    ratio = f"(sum({above}) / nullif(sum({below}), 0))"
    squares = (
        f"sum(pow({above}, 2)) - 2 * {ratio} * sum({above} * {below}) + pow({ratio}, 2) * sum(pow({below}, 2))"
    )
    n = f"count({above})"
    # Where every session has the same ratio, rounding may leave a sum of squares below 0.
    variance = f"greatest({squares}, 0) * {n} / nullif({n} - 1, 0)"
    low, high = _around(ratio, f"sqrt({variance}) / nullif(sum({below}), 0)", errors)
    return _if_normal(n, (f"if({low} < 0 AND {ratio} >= 0, 0, {low})", high))


def _of_percentile(value: str, quantile: float, errors: float) -> tuple[str, str]:
    n = f"count({value})"
    each = f"list({value} ORDER BY {value} NULLS LAST)"
    low, high = _around(f"{quantile} * {n}", f"sqrt({quantile * (1 - quantile)} * {n})", errors)
    # Behind the values there is null; before them, places would count from the end.
    return f"if({low} < 1, NULL, {each}[floor({low})::BIGINT])", f"{each}[ceil({high})::BIGINT + 1]"
