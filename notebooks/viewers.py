"""What pages ask of viewers: who is known and how, who is new, returns or lapsed, what they play next."""

from datetime import timedelta
from typing import Any

import msgspec

from lake.reading import Reader
from notebooks.connect import read, read_each
from notebooks.filters import ASKED, UNKNOWN, Choice

NOT_KNOWN = "not known"
# By what a session's viewer is known, or why not; in this order.
KNOWN_BY = {
    "by user id": "user_id IS NOT NULL AND user_id_source IS DISTINCT FROM 'tracking_session'",
    "by tracking session": "user_id IS NOT NULL",
    "denied": "consent = 'denied'",
    "by device only": "device_id IS NOT NULL",
    NOT_KNOWN: "true",
}
HOURS_MAX = timedelta(hours=48)  # longer periods are shown by days
COHORTS_MAX = 14
HABITS = ((1, "1"), (2, "2"), (5, "3 to 5"), (10, "6 to 10"), (20, "11 to 20"), (None, "more than 20"))
LISTED_MAX = 200
PAIRS_MAX = 100


class Seen(msgspec.Struct, frozen=True):
    """The viewers of a choice: how many are `new`, `returning` and `lapsed`, how many had how many sessions.

    `listed` are those with the most sessions, by their pseudonyms, at most `LISTED_MAX`.
    """

    by_status: dict[str, int]
    habits: list[dict[str, Any]]
    listed: list[dict[str, Any]]


def seen(lake: Reader, choice: Choice) -> Seen:
    """Return the viewers of a choice, by `viewers_between`."""
    limits = ", ".join(str(limit) for limit, _ in HABITS if limit is not None)
    answers = read_each(
        lake,
        "FROM viewers_between($since, $until, filters := $filters)",
        {
            "statuses": "SELECT status, count(*) AS viewers FROM chosen GROUP BY status",
            "habits": f"""
                SELECT len(list_filter([{limits}], lambda most: sessions > most)) AS place, count(*) AS viewers
                FROM chosen WHERE sessions > 0 GROUP BY place
            """,
            "listed": f"""
                SELECT
                    user_id AS viewer, status, sessions, sessions_before, content_time_s, first_seen, last_seen
                FROM chosen ORDER BY sessions DESC, sessions_before DESC, viewer LIMIT {LISTED_MAX}
            """,
        },
        **choice.macro_values(),
    )
    statuses = {each["status"]: each["viewers"] for each in answers["statuses"]}
    counted = {each["place"]: each["viewers"] for each in answers["habits"]}
    return Seen(
        {"new": 0, "returning": 0, "lapsed": 0} | statuses,
        [{"sessions": word, "viewers": counted.get(place, 0)} for place, (_, word) in enumerate(HABITS)],
        answers["listed"],
    )


def mix(lake: Reader, choice: Choice, column: str) -> list[dict[str, Any]]:
    """Return by what the viewers of sessions are known (`series`, of `KNOWN_BY`), for each value of a column.

    `sessions`: how many; `n`: of how many with that value, those with the most first; `share`: of these.
    """
    cases = " ".join(f"WHEN {condition} THEN {place}" for place, condition in enumerate(KNOWN_BY.values()))
    rows = read(
        lake,
        f"""
        WITH counted AS (
            SELECT coalesce({column}, '{UNKNOWN}') AS value, CASE {cases} END AS place, count(*) AS sessions
            FROM counted_sessions WHERE {choice.started()} GROUP BY value, place
        )
        SELECT value, place, sessions, sum(sessions) OVER (PARTITION BY value)::BIGINT AS n FROM counted
        ORDER BY n DESC, value, place
        """,
        **choice.values(),
    ).to_pylist()
    names = list(KNOWN_BY)
    return [{**row, "series": names[row["place"]], "share": row["sessions"] / row["n"]} for row in rows]


def over_time(lake: Reader, choice: Choice) -> list[dict[str, Any]]:
    """Return new and returning viewers of each hour, or day of a longer period, that is whole within the period.

    `begins` and `ends` are wall clocks of the reader's zone.
    """
    unit = unit_of(choice)
    return read(
        lake,
        f"""
        SELECT begins, begins + INTERVAL 1 {unit} AS ends, new_viewers, returning_viewers, sessions
        FROM viewers_by_time('{unit}', $since, $until, filters := $filters, zone := $zone)
        WHERE begins + INTERVAL 1 {unit} <= $until::TIMESTAMPTZ AT TIME ZONE $zone
        """,
        zone=choice.zone,
        **choice.macro_values(),
    ).to_pylist()


def unit_of(choice: Choice) -> str:
    """Return by what viewers are counted over time: hour or day."""
    return "hour" if choice.until - choice.since <= HOURS_MAX else "day"


def cohorts(lake: Reader, choice: Choice, unit: str) -> list[dict[str, Any]]:
    """Return which share (`retained_ratio`) of the newest cohorts came back in each later day or week (`number`).

    `viewers`: how many they are, of `cohort_viewers`. A day or week that is not over is left out.
    """
    return read(
        lake,
        f"""
        WITH counted AS (
            SELECT * FROM cohorts_by('{unit}', $until, filters := $filters, zone := $zone)
        ), places AS (
            SELECT cohort, cohort_viewers, unnest(range(1, {COHORTS_MAX})) AS number
            FROM counted WHERE number = 0 ORDER BY cohort DESC LIMIT {COHORTS_MAX * (COHORTS_MAX - 1)}
        )
        SELECT
            cohort, number, places.cohort_viewers, coalesce(viewers, 0) AS viewers,
            coalesce(viewers, 0) / places.cohort_viewers AS retained_ratio
        FROM places LEFT JOIN counted USING (cohort, number)
        WHERE cohort + (number + 1) * INTERVAL 1 {unit} <= $until::TIMESTAMPTZ AT TIME ZONE $zone
        ORDER BY cohort, number
        """,
        until=choice.until,
        filters=choice.filters(),
        zone=choice.zone,
    ).to_pylist()


def sequences(lake: Reader, choice: Choice, hours: int) -> list[dict[str, Any]]:
    """Return what viewers played next within some hours, with the names of both, the most frequent first."""
    return read(
        lake,
        f"""
        SELECT
            coalesce(content_name, content_id, '{UNKNOWN}') AS content,
            coalesce(next_content_name, next_content_id, '{UNKNOWN}') AS next,
            sessions, viewers, next_ratio, gap_median_s, round(sessions / next_ratio)::BIGINT AS plays
        FROM sequences_within({hours}, {ASKED})
        ORDER BY sessions DESC, content, next LIMIT {PAIRS_MAX}
        """,
        **choice.macro_values(),
    ).to_pylist()
