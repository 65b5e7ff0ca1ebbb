"""By what sessions are cut and filtered: the names that `metrics_by` and other macros take.

A dimension is a column of sessions (`COLUMNS`), the time of its start in a time zone (`TIMES`), or `dims.<key>`, a
key of its custom metadata. Any other name is an error that lists the known ones.
"""

from schemas.vocabulary import DIMENSION_KEYS

COLUMNS = (
    *("content_id", "content_name", "content_type", "stream_type", "player_name", "channel", "app_version"),
    *DIMENSION_KEYS,
    *("device_type", "os", "browser", "is_bot", "country", "region"),
    *("is_live", "is_downloaded", "is_resumed", "consent"),
)
# SQL over a session `s` and a time zone.
TIMES = {
    "hour": "date_trunc('hour', s.started_at AT TIME ZONE zone)",
    "day": "(s.started_at AT TIME ZONE zone)::DATE",
    "week": "date_trunc('week', s.started_at AT TIME ZONE zone)::DATE",
    "month": "date_trunc('month', s.started_at AT TIME ZONE zone)::DATE",
    "hour_of_day": "hour(s.started_at AT TIME ZONE zone)",
    "weekday": "isodow(s.started_at AT TIME ZONE zone)",
}
_CUT = """if(
            len(list_filter(coalesce(dims::VARCHAR[], []), lambda name: starts_with(name, 'dims.'))) = 0,
            NULL,
            map_from_entries(list_transform(
                list_filter(dims::VARCHAR[], lambda name: starts_with(name, 'dims.')),
                lambda name: {k: name[6:], v: s.dims[name[6:]]}
            ))
        ) AS "cut\""""


def replacements() -> dict[str, str]:
    """Return the SQL that replaces each placeholder in `sql/`.

    `{dimensions}`: the names as texts; `{times}`: the columns of `TIMES`; `{cut}`: the values of
    custom metadata that were asked for; `{filters}`: the condition that a session `s` has the values in the
    argument `filters`. Arguments are constants, so what was not asked for is not read.
    """
    columns = ", ".join(f"'{name}'" for name in COLUMNS)
    conditions = [
        f"all_known(map_keys(filters::MAP(VARCHAR, VARCHAR)), [{columns}])",
        *(f"is_asked(filters, '{name}', s.\"{name}\")" for name in COLUMNS),
        "is_asked_own(filters, s.dims)",
    ]
    return {
        "{filters}": "\n        AND ".join(conditions),
        "{dimensions}": ", ".join(f"'{name}'" for name in (*COLUMNS, *TIMES)),
        "{cut}": _CUT,
        "{times}": ",\n        ".join(f"{sql} AS {name}" for name, sql in TIMES.items()),
    }
