"""The catalogue of metrics: name, meaning and SQL of each, one TOML file per subject.

Vendors use the same words for different numbers, so each number here has its own name, which includes the source
if sources differ. A `[[metric]]` is a column of `metrics` and `metrics_by`. An `[[entry]]` is any other number: a
column of sessions, a view, a macro, or one that cannot be measured. Both are rows of the table `metric_catalog`.
To add a metric, add it to the file of its subject; files are checked when they are loaded.

Numerator and denominator are SQL over one row of the view `counted_sessions`; `of` is the set of its sessions.
Aggregates are ratios of sums, not means of ratios, unless a source defines a mean over sessions (`mean`). A
session without a value is excluded from both sums.
"""

import functools
import tomllib
from importlib import resources
from typing import Any, Literal

import duckdb
import msgspec

SUBJECTS = (
    "sessions",
    "time",
    "startup",
    "failures",
    "rebuffering",
    "picture",
    "progress",
    "ads",
    "viewers",
    "quality",
    "unmeasured",
)
NOT_MEASURED = "not measured"
_NEWEST = "(SELECT max(started_at) FROM counted_sessions)"
# Arguments of example queries that fit any lake.
_ARGUMENTS = {
    "{some_content}": "(SELECT any_value(content_id) FROM counted_sessions)",
    "{last_hour_start}": "now() - INTERVAL 1 HOUR",
    "{last_day}": f"{_NEWEST} - INTERVAL 1 DAY, {_NEWEST}",
    "{last_hour}": f"{{programme: 'the last hour', since: {_NEWEST} - INTERVAL 1 HOUR, until: {_NEWEST}}}",
}


class SessionSet(msgspec.Struct, frozen=True):
    """A set of sessions: in words, and as a condition on a row of `counted_sessions`."""

    words: str
    condition: str


SETS = {
    "all": SessionSet("sessions, including open ones", "true"),
    "started": SessionSet("sessions whose main content played, including open ones", "is_started"),
    "closed": SessionSet("closed sessions", "is_closed"),
    "attempts": SessionSet("closed sessions with a sessionStart", "is_closed AND has_start"),
    "media_starts": SessionSet(
        "closed sessions with a sessionStart that does not resume an earlier one",
        "is_closed AND has_start AND NOT is_resumed",
    ),
    "plays": SessionSet("closed sessions whose main content played", "is_closed AND is_started"),
    "over_1_s": SessionSet(
        "closed sessions with a sessionStart, without exits within 1 s",
        "is_closed AND has_start AND (is_started OR is_failed OR age_s >= 1)",
    ),
    "recorded": SessionSet(
        "closed sessions of content of known length whose main content played",
        "is_closed AND is_started AND recorded_length_s > 0",
    ),
}


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric over sessions. `unlike` lists metrics that it is often confused with."""

    name: str
    meaning: str
    unit: str
    how: Literal["sum", "ratio", "mean", "median", "p75", "p95"]
    numerator: str
    denominator: str = ""
    source: str = "Playhead"
    of: Literal["all", "started", "closed", "attempts", "media_starts", "plays", "over_1_s", "recorded"] = "all"
    unlike: str = ""

    def __post_init__(self) -> None:
        if (self.how == "ratio") is not bool(self.denominator):
            raise ValueError(f"{self.name}: a ratio has a denominator, other metrics have none")

    @property
    def sql(self) -> str:
        """The aggregate over `counted_sessions`.

        Values outside of the set are null, and no FILTER excludes them: for each FILTER, DuckDB copies the columns
        of all other aggregates, which would take most of the time of a hundred metrics.
        """
        match self.how:
            case "sum" if self.unit == "count":
                return f"coalesce(sum({self._within(f'({self.numerator})::BIGINT')}), 0)::BIGINT"
            case "sum":
                return self.parts["sum"]
            case "ratio":
                return f"{self.parts['above']} / nullif({self.parts['below']}, 0)"
            case "mean":
                return f"avg({self.session_sql})"
            case "median" | "p75" | "p95":
                return f"quantile_cont({self.session_sql}, {self.quantile})"

    @property
    def parts(self) -> dict[str, str]:
        """The aggregates over `counted_sessions` that sum up to this metric, by name: what roll-ups store.

        `sum`: of the numerator; of a mean also `n`: sessions with a value; of a ratio `above` and `below`; of a
        percentile `spread`, how many values are in each bucket of `spread_bucket`.
        """
        value = self.session_sql
        match self.how:
            case "sum":
                return {"sum": f"sum({value})"}
            case "mean":
                return {"sum": f"sum({value})", "n": self.sample_sql}
            case "ratio":
                return {"above": f"sum({value})", "below": f"sum({self.session_below_sql})"}
            case "median" | "p75" | "p95":
                return {"spread": f"histogram(spread_bucket({value}))"}

    @property
    def quantile(self) -> float | None:
        """Which quantile a percentile is; None for other metrics."""
        return {"median": 0.5, "p75": 0.75, "p95": 0.95}.get(self.how)

    @property
    def session_sql(self) -> str:
        """The numerator of one session of `counted_sessions`; null outside of the set."""
        return self._within(f"({self.numerator})::DOUBLE")

    @property
    def session_below_sql(self) -> str:
        """The denominator of one session, of a ratio; null outside of the set."""
        return self._within(f"({self.denominator})::DOUBLE")

    def _within(self, value: str) -> str:
        """Return a value for the sessions of the set, null for others and for those without one."""
        conditions = [SETS[self.of].condition] if self.of != "all" else []
        if self.denominator:
            conditions += [f"({self.numerator}) IS NOT NULL", f"({self.denominator}) IS NOT NULL"]
        return f"if({' AND '.join(conditions)}, {value}, NULL)" if conditions else value

    @property
    def sample_sql(self) -> str:
        """How many sessions of `counted_sessions` the aggregate is computed from."""
        return f"count({self._within(f'({self.numerator})')})"

    @property
    def row(self) -> tuple[str | None, ...]:
        """The row of `metric_catalog`."""
        words = {"mean": "mean", "median": "median", "p75": "75th percentile", "p95": "95th percentile"}
        how = f"{words.get(self.how, 'sum')} of "
        below = f"sum of {self.denominator}" if self.denominator else None
        return (
            self.name,
            self.meaning,
            self.unit,
            how + self.numerator,
            "number of sessions" if self.denominator == "1" else below,
            self.source,
            SETS[self.of].words,
            self.unlike or None,
            "column of metrics and metrics_by, metric of compare",
            f"SELECT {self.name} FROM metrics",
        )


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that is not a column of `metrics`.

    `where` is the column, view or macro that has it; `query` is an example, in which `{some_content}`
    and other names in braces are replaced by arguments that fit any lake. `of` is a set of sessions, by name or in
    words.
    """

    name: str
    meaning: str
    unit: str
    where: str = NOT_MEASURED
    query: str = ""
    numerator: str = ""
    denominator: str = ""
    source: str = "Playhead"
    of: str = "all"
    unlike: str = ""

    def __post_init__(self) -> None:
        if (self.where == NOT_MEASURED) is bool(self.query):
            raise ValueError(f"{self.name}: a measured number has an example query, other numbers have none")

    @property
    def row(self) -> tuple[str | None, ...]:
        """The row of `metric_catalog`."""
        query = self.query
        for name, argument in _ARGUMENTS.items():
            query = query.replace(name, argument)
        return (
            self.name,
            self.meaning,
            self.unit,
            self.numerator or None,
            self.denominator or None,
            self.source,
            SETS[self.of].words if self.of in SETS else self.of,
            self.unlike or None,
            self.where,
            query or None,
        )


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of one file, or of all."""

    metric: list[Metric] = []
    entry: list[Entry] = []

    @property
    def every(self) -> list[Metric | Entry]:
        """Metrics, then entries: the order of the rows in `metric_catalog`."""
        return [*self.metric, *self.entry]


@functools.cache
def read_catalogue() -> Catalogue:
    """Return all metrics and entries, in the order of subjects. Raises ValueError if a file is wrong."""
    folder = resources.files("lake.metrics")
    files = [parse_subject(name, folder.joinpath(f"{name}.toml").read_text()) for name in SUBJECTS]
    whole = Catalogue(
        [row for file in files for row in file.metric], [row for file in files for row in file.entry]
    )
    names = [row.name for row in whole.every]
    if len(set(names)) < len(names):
        raise ValueError(f"defined twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")
    return whole


def parse_subject(subject: str, text: str) -> Catalogue:
    """Return the contents of one subject's file. Raises ValueError that names the file and the mistake."""
    try:
        content: dict[str, Any] = tomllib.loads(text)
        return msgspec.convert(content, Catalogue)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{subject}.toml: {error}") from error


def columns_sql() -> str:
    """Return every metric as a column of a SELECT over `counted_sessions`."""
    return ",\n".join(f"    {metric.sql} AS {metric.name}" for metric in read_catalogue().metric)


def measures_sql() -> str:
    """Return every metric as a struct of its name, its value and how many sessions it is computed from."""
    return ",\n".join(
        f"    {{metric: '{metric.name}', value: ({metric.sql})::DOUBLE, sample: {metric.sample_sql}}}"
        for metric in read_catalogue().metric
    )


def catalog_rows() -> list[tuple[str | None, ...]]:
    """Return the rows of `metric_catalog`, in the order of its columns."""
    return [row.row for row in read_catalogue().every]


def fill_catalog(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the rows of `metric_catalog`."""
    connection.execute("DELETE FROM metric_catalog")
    rows = catalog_rows()
    places = "(" + ", ".join(["?"] * len(rows[0])) + ")"
    values = [value for row in rows for value in row]
    connection.execute(f"INSERT INTO metric_catalog VALUES {', '.join([places] * len(rows))}", values)
