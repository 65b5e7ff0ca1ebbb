"""What pages ask of contents: which were played, and what happened along one of them."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from lake.metrics.intervals import measure_sql, share_bounds_sql
from lake.reading import Reader
from notebooks.connect import read, read_each
from notebooks.filters import ASKED, Choice
from notebooks.questions import STANDARD_ERRORS_MIN, definitions

CONTENTS_MAX = 300
BUCKETS_MAX = 60
PARTS = 50  # of a content, when it is compared with others
_BUCKETS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800)


class Content(msgspec.Struct, frozen=True):
    """One content, as the sessions of a choice show it.

    `length_s` is null if it is live or unknown; `ends` are the first and the last position played, seconds.
    Of its `plays`, `closed` ones are `completed`, left, or ended at an `unknown` position; others are not over.
    """

    content_id: str
    name: str
    plays: int
    closed: int
    completed: int
    unknown: int
    length_s: float | None
    is_live: bool
    ends: tuple[float, float]
    measures: dict[str, Any]

    @property
    def bucket_s(self) -> int:
        """The width of a bucket of positions, seconds."""
        wide = self.ends[1] - self.ends[0]
        return next((width for width in _BUCKETS_S if wide <= width * BUCKETS_MAX), math.ceil(wide / BUCKETS_MAX))


def contents(lake: Reader, choice: Choice, names: list[str]) -> list[Content]:
    """Return the contents that were played, those with the most plays first, each with measures of metrics."""
    known = definitions()
    measures = ", ".join(measure_sql(known[name], STANDARD_ERRORS_MIN) for name in names)
    rows = read(
        lake,
        f"""
        SELECT
            content_id, coalesce(arg_max(content_name, started_at), content_id) AS name,
            count(*) FILTER (is_started) AS plays,
            count(*) FILTER (is_started AND is_closed) AS closed,
            count(*) FILTER (is_started AND is_closed AND is_completed) AS completed,
            count(*) FILTER (is_started AND is_closed AND NOT is_completed AND last_playhead_s IS NULL) AS unknown,
            max(recorded_length_s) AS length_s,
            bool_or(coalesce(is_live, false)) AS is_live,
            min(played_intervals[1].start_s) AS first_s, max(played_intervals[-1].end_s) AS last_s,
            [{measures}] AS measures
        FROM counted_sessions
        WHERE content_id IS NOT NULL AND {choice.started()}
        GROUP BY content_id HAVING last_s > 0
        ORDER BY plays DESC, content_id LIMIT {CONTENTS_MAX}
        """,
        **choice.values(),
    ).to_pylist()
    return [
        Content(
            row["content_id"],
            row["name"],
            row["plays"],
            row["closed"],
            row["completed"],
            row["unknown"],
            row["length_s"],
            row["is_live"],
            (0.0, row["length_s"]) if row["length_s"] else (row["first_s"], row["last_s"]),
            {measure["metric"]: measure for measure in row["measures"]},
        )
        for row in rows
    ]


def retention(lake: Reader, choice: Choice, content: Content) -> list[dict[str, Any]]:
    """Return what the macros `retention` and `heat_map` say of a content, by bucket.

    `low` and `high` are the bounds of `unique_retention_ratio`: each session played a bucket, or not, or a part.
    """
    low, high = share_bounds_sql("unique_retention_ratio", "$plays", STANDARD_ERRORS_MIN)
    return read(
        lake,
        f"""
        SELECT *, {low} AS low, {high} AS high
        FROM (
            SELECT *, plays / nullif(max(plays) OVER (), 0) AS heat_ratio
            FROM retention($content, bucket_s := $bucket_s, {ASKED})
        ) WHERE to_s > $first_s ORDER BY from_s
        """,
        plays=content.plays,
        first_s=content.ends[0],
        **_values(choice, content),
    ).to_pylist()


def relative(lake: Reader, choice: Choice, content: Content) -> list[dict[str, Any]]:
    """Return what the macro `relative_retention` says of a content, with `from_s`; nothing if none is similar."""
    return read(
        lake,
        f"""
        SELECT *, from_ratio * $length_s AS from_s
        FROM relative_retention($content, buckets := {PARTS}, {ASKED})
        WHERE similar_contents > 0 ORDER BY from_ratio
        """,
        content=content.content_id,
        length_s=content.length_s,
        **choice.macro_values(),
    ).to_pylist()


def leaving(lake: Reader, choice: Choice, content: Content) -> list[dict[str, Any]]:
    """Return the macro `leaving_points` for a content, with bounds of `left_ratio`, of its closed plays."""
    low, high = share_bounds_sql("left_ratio", "$closed", STANDARD_ERRORS_MIN)
    return read(
        lake,
        f"""
        SELECT *, from_s + $bucket_s AS to_s, {low} AS low, {high} AS high
        FROM leaving_points($content, bucket_s := $bucket_s, {ASKED}) ORDER BY from_s
        """,
        closed=content.closed,
        **_values(choice, content),
    ).to_pylist()


def seeks(lake: Reader, choice: Choice, content: Content) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the seeks of the sessions that the choice leaves: all together, and by bucket.

    By bucket, `away` is how many jumped away from it, and `to_here` how many jumped to it.
    """
    # The macro takes no filters.
    chosen = f"SELECT session_id FROM counted_sessions WHERE content_id = $content AND {choice.started()}"
    among = f"session_id IN ({chosen})" if choice.among else "true"
    answers = read_each(
        lake,
        f"SELECT * FROM seeks_between($since, $until, content := $content) WHERE {among}",
        {
            "whole": """
                SELECT
                    count(*) AS seeks, count(DISTINCT session_id) AS sessions,
                    count(*) FILTER (distance_s > 0) AS forward,
                    median(distance_s) FILTER (distance_s > 0) AS forward_s,
                    -median(distance_s) FILTER (distance_s < 0) AS backward_s
                FROM chosen
            """,
            "buckets": """
                SELECT
                    floor(place_s / $bucket_s) * $bucket_s AS from_s,
                    count(*) FILTER (is_away) AS away, count(*) FILTER (NOT is_away) AS to_here
                FROM (
                    SELECT from_s AS place_s, true AS is_away FROM chosen
                    UNION ALL
                    SELECT to_s, false FROM chosen
                )
                WHERE place_s IS NOT NULL GROUP BY 1 ORDER BY 1
            """,
        },
        content=content.content_id,
        bucket_s=content.bucket_s,
        **choice.values(),
    )
    (whole,) = answers["whole"]
    return whole, answers["buckets"]


def _values(choice: Choice, content: Content) -> dict[str, object]:
    return {"content": content.content_id, "bucket_s": content.bucket_s, **choice.macro_values()}


def gapless(rows: list[dict[str, Any]], content: Content) -> list[dict[str, Any]]:
    """Return every bucket of a content: rows of `seeks` by bucket, and zeros for buckets without a seek."""
    known = {row["from_s"]: row for row in rows}
    low, high = (int(end // content.bucket_s) for end in content.ends)
    places = [float(place * content.bucket_s) for place in range(low, high + 1)]
    return [known.get(place, {"from_s": place, "away": 0, "to_here": 0}) for place in places]


def most(rows: list[dict[str, Any]], column: str) -> Mapping[str, Any] | None:
    """Return the row with the most of a column, the first of equal ones; None without rows."""
    return max(rows, key=lambda row: row[column] or 0, default=None)
