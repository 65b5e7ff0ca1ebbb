"""How sure a metric is: its intervals hold the truth as often as they promise."""

import math
from typing import Any

import duckdb
import pytest

from lake.metrics import Metric
from lake.metrics.intervals import difference_sql, measure_sql

ERRORS = 2.0  # 95.4 of 100 intervals hold the truth
SAMPLES = 600
SIZE = 300
SHARE = Metric("share", "", "ratio", "ratio", "is_failed::INT", "1")
RATIO = Metric("ratio", "", "ratio", "ratio", "stalled_s", "watched_s")
MEAN = Metric("mean", "", "s", "mean", "wait_s")
MEDIAN = Metric("median", "", "s", "median", "wait_s")
P75 = Metric("p75", "", "s", "p75", "wait_s")
P95 = Metric("p95", "", "s", "p95", "wait_s")
# Of the population that the samples are drawn from; waits are exponential, 2 s in the mean.
TRUTH = {SHARE: 0.04, RATIO: 0.05, MEAN: 2.0, MEDIAN: 2 * math.log(2), P75: 2 * math.log(4), P95: 2 * math.log(20)}


@pytest.fixture(scope="module")
def samples() -> duckdb.DuckDBPyConnection:
    """Samples of one population, each in two halves."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SELECT setseed(0.5)")
    connection.execute(
        f"""
        CREATE TABLE counted_sessions AS
        SELECT *, watched_s * stalled_ratio AS stalled_s
        FROM (
            SELECT
                place // {SIZE} AS sample, place % 2 = 0 AS is_newer,
                random() < 0.04 AS is_failed,
                -600 * ln(1 - random()) AS watched_s,
                0.1 * random() AS stalled_ratio,
                -2 * ln(1 - random()) AS wait_s
            FROM range({SAMPLES * SIZE}) AS numbers(place)
        )
        """
    )
    return connection


@pytest.mark.parametrize("metric", TRUTH, ids=lambda metric: metric.name)
def test_an_interval_holds_the_truth_as_often_as_it_promises(
    samples: duckdb.DuckDBPyConnection, metric: Metric
) -> None:
    """Of shares, ratios of sums, means, and percentiles; and of the difference of two halves."""
    measure = measure_sql(metric, ERRORS)
    held, difference_held, in_order = one(
        samples,
        f"""
        WITH halves AS (SELECT sample, is_newer, {measure} AS measure FROM counted_sessions GROUP BY ALL),
        beside AS (
            SELECT
                any_value(measure) FILTER (is_newer) AS newer, any_value(measure) FILTER (NOT is_newer) AS older
            FROM halves GROUP BY sample
        ), changed AS (SELECT {difference_sql("newer", "older")} AS change FROM beside),
        wholes AS (SELECT {measure} AS measure FROM counted_sessions GROUP BY sample)
        SELECT
            (SELECT avg((measure.low <= $truth AND $truth <= measure.high)::INT) FROM wholes),
            (SELECT avg((change.low <= 0 AND 0 <= change.high)::INT) FROM changed),
            (SELECT bool_and(measure.low <= measure.value AND measure.value <= measure.high) FROM wholes)
        """,
        truth=TRUTH[metric],
    )
    assert 0.93 <= held <= 0.985
    assert 0.93 <= difference_held <= 0.995  # the outer ranks of a percentile are whole numbers
    assert in_order


def one(connection: duckdb.DuckDBPyConnection, query: str, **values: object) -> tuple[Any, ...]:
    """Return the one row of a query."""
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row


def measured(metric: Metric, rows: str, errors: float = 1.96) -> dict[str, Any]:
    """Return the measure of a metric over rows."""
    with duckdb.connect() as connection:
        (measure,) = one(connection, f"SELECT {measure_sql(metric, errors)} FROM ({rows})")
    return dict(measure)


def test_a_share_has_wilsons_interval() -> None:
    """10 of 100, with the bounds of the literature; and one that is 0 has a bound above it."""
    tenth = measured(SHARE, "SELECT place < 10 AS is_failed FROM range(100) AS numbers(place)")
    assert (tenth["n"], tenth["value"]) == (100, 0.1)
    assert (tenth["low"], tenth["high"]) == pytest.approx((0.0552, 0.1744), abs=0.0001)
    never = measured(SHARE, "SELECT false AS is_failed FROM range(100)")
    assert (never["low"], never["high"]) == pytest.approx((0, 0.0370), abs=0.0001)


def test_a_percentile_is_between_two_of_the_values() -> None:
    """Of 1 to 100 the median is, by the binomial distribution, between the 40th and the 61st."""
    hundred = "SELECT place + 1 AS wait_s FROM range(100) AS numbers(place) UNION ALL SELECT NULL"
    middle = measured(MEDIAN, hundred)
    assert (middle["n"], middle["value"], middle["low"], middle["high"]) == (100, 50.5, 40, 61)


@pytest.mark.parametrize("metric", [MEDIAN, P95, MEAN, RATIO], ids=lambda metric: metric.name)
def test_few_values_have_no_bound(metric: Metric) -> None:
    """The largest of five may be less than the 95th percentile, and one long stall may be most of the time."""
    few = measured(
        metric,
        "SELECT place + 1 AS wait_s, place AS stalled_s, 10 AS watched_s FROM range(5) AS numbers(place)",
    )
    assert few["value"] is not None
    assert few["high"] is None


def test_without_sessions_there_is_no_number_and_no_error() -> None:
    """A measure of nothing has no bounds."""
    columns = "SELECT false AS is_failed, 1.0 AS watched_s, 1.0 AS stalled_s, 1.0 AS wait_s"
    for metric in TRUTH:
        nothing = measured(metric, f"{columns} WHERE false")
        assert nothing == {"metric": metric.name, "n": 0, "value": None, "low": None, "high": None}
