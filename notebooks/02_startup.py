"""How long do people wait for the first frame?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: startup")


@app.cell
def _():
    import os
    import zoneinfo
    from pathlib import Path

    import marimo as mo

    from notebooks import filters, pictures, questions
    from notebooks.connect import newest_snapshot, open_lake, read
    from notebooks.names import as_text
    from schemas.faults import NotReady

    data = mo.cli_args().get("data")
    try:
        lake = open_lake(os.environ, Path(str(data)) if data else None)
    except NotReady as fault:
        mo.stop(True, mo.md(f"# Startup\nThere is nothing to see yet: {fault}."))
    return as_text, filters, lake, mo, newest_snapshot, pictures, questions, read, zoneinfo


@app.cell
def _(filters, lake, mo):
    refresh = mo.ui.refresh(options=["10s", "1m", "10m"], default_interval="10s")
    bar = filters.bar(mo, lake)
    snapshot, set_snapshot = mo.state(0)
    return bar, refresh, set_snapshot, snapshot


@app.cell
def _(bar, filters, mo, refresh):
    mo.vstack([mo.hstack([mo.md("# Startup"), refresh], align="center"), filters.shown(mo, bar)])
    return


@app.cell
def _(lake, newest_snapshot, refresh, set_snapshot, snapshot):
    refresh
    # What is below is computed again only when the lake has changed.
    if (newest := newest_snapshot(lake)) != snapshot():
        set_snapshot(newest)
    return


@app.cell
def _(bar, filters, lake, mo, snapshot, zoneinfo):
    snapshot()
    newest_at = filters.newest_moment(lake)
    mo.stop(newest_at is None, mo.md(filters.EMPTY))
    choice = filters.chosen(mo, bar.value, newest_at)
    zone = zoneinfo.ZoneInfo(choice.zone)
    compared = bar.value["compare"]
    mo.md(f"Filters: {choice.words}")
    return choice, compared, zone


@app.cell
def _(filters, mo):
    cut_by = mo.ui.dropdown(list(filters.DIMENSIONS), value="player", label="cut by")
    return (cut_by,)


@app.cell
def _(choice, compared, lake, mo, pictures, questions):
    names = {
        "startup_s_median_newrelic": "half wait less than",
        "startup_s_p95_newrelic": "95 % wait less than",
        "startup_s_mean_cta2066": "mean",
        "exit_before_start_ratio_conviva": "left before start",
        "start_failure_ratio_conviva": "failed to start",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {compared}"),
            pictures.compared(mo, questions, lake, choice, names, compared),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions, zone):
    over_time = questions.metrics(
        lake, choice, ["startup_s_median_newrelic", "startup_s_p95_newrelic"], by=choice.bucket, order="value"
    )
    lines = [
        {"at": pictures.as_clock(row["value"], zone), "value": row[name], "series": series}
        for name, series in (
            ("startup_s_median_newrelic", "median"),
            ("startup_s_p95_newrelic", "95th percentile"),
        )
        for row in over_time
        if row["n"] >= choice.sample_min and row[name] is not None
    ]
    left_out = sum(row["n"] for row in over_time if row["n"] < choice.sample_min)
    mo.vstack(
        [
            mo.md("## Over time"),
            pictures.over_time(lines, title="seconds", note=choice.zone),
            mo.md(
                f"Each point is {choice.bucket_words} of starts; points of fewer than {choice.sample_min} "
                f"sessions are left out ({left_out:,} sessions)."
            ),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, read):
    waits = read(
        lake,
        f"""
        SELECT
            least(floor(startup_s * 4) / 4, 10) AS from_s,
            count(*) AS sessions,
            count(*) FILTER (startup_s IS NULL) AS unknown
        FROM counted_sessions
        WHERE is_started AND started_at >= $since AND started_at < $until AND {choice.condition()}
        GROUP BY from_s ORDER BY from_s
        """,
        **choice.values(),
    ).to_pylist()
    known = [row for row in waits if row["from_s"] is not None]
    unknown = sum(row["unknown"] for row in waits)
    mo.vstack(
        [
            mo.md("## Distribution"),
            pictures.histogram(known, "from_s", "sessions", title="startup, seconds (10: 10 and more)", step=0.25),
            mo.md(
                f"n = {sum(row['sessions'] for row in known):,} sessions that started; of {unknown:,} more the "
                "startup is unknown, because no event shows when it ended."
            ),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, read):
    # Of those who neither saw main content nor an error: how long they had waited when they left.
    exits = read(
        lake,
        f"""
        SELECT least(floor(startup_wait_s), 30) AS from_s, count(*) AS sessions
        FROM counted_sessions
        WHERE is_closed AND has_start AND NOT is_started AND NOT is_failed
            AND started_at >= $since AND started_at < $until AND {choice.condition()}
        GROUP BY from_s ORDER BY from_s
        """,
        **choice.values(),
    ).to_pylist()
    (reached,) = read(
        lake,
        f"""
        SELECT
            count(*) AS starts,
            count(*) FILTER (is_started OR first_frame_s IS NOT NULL) AS "first frame of content or ad",
            count(*) FILTER (is_started) AS "main content"
        FROM counted_sessions
        WHERE is_closed AND has_start AND started_at >= $since AND started_at < $until AND {choice.condition()}
        """,
        **choice.values(),
    ).to_pylist()
    funnel = [{"step": step, "sessions": sessions} for step, sessions in reached.items()]
    mo.vstack(
        [
            mo.md("## From start to first frame (closed sessions)"),
            pictures.bars(funnel, "sessions", "step", title="sessions"),
            mo.md("## How long those waited who left"),
            pictures.histogram(
                [row for row in exits if row["from_s"] is not None],
                "from_s",
                "sessions",
                title="seconds of waiting (30: 30 and more)",
                step=1,
            ),
            mo.md(f"n = {sum(row['sessions'] for row in exits):,} closed sessions without main content or error."),
        ]
    )
    return


@app.cell
def _(as_text, choice, cut_by, lake, mo, pictures, questions):
    rates = ["startup_s_median_newrelic", "startup_s_p95_newrelic", "exit_before_start_ratio_conviva"]
    table = pictures.by_value(
        as_text,
        questions.by_dimension(lake, choice, rates, cut_by.value),
        questions.definitions(),
        choice.sample_min,
    )
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            mo.ui.table(table, selection=None, page_size=15, show_data_types=False),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
