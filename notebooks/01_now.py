"""Is it well, and who watches what?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: now")


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
        mo.stop(True, mo.md(f"# Now\nThere is nothing to see yet: {fault}."))
    return as_text, filters, lake, mo, newest_snapshot, pictures, questions, read, zoneinfo


@app.cell
def _(filters, lake, mo):
    refresh = mo.ui.refresh(options=["2s", "10s", "1m"], default_interval="2s")
    bar = filters.bar(mo, lake, period="last hour")
    snapshot, set_snapshot = mo.state(0)
    return bar, refresh, set_snapshot, snapshot


@app.cell
def _(bar, filters, mo, refresh):
    mo.vstack([mo.hstack([mo.md("# Now"), refresh], align="center"), filters.shown(mo, bar)])
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
    mo.stop(
        newest_at is None,
        mo.md(
            "Nothing has arrived yet. `make run` simulates viewers; README shows how to send an event with curl."
        ),
    )
    choice = filters.chosen(mo, bar.value, newest_at)
    zone = zoneinfo.ZoneInfo(choice.zone)
    compared = bar.value["compare"]
    return choice, compared, newest_at, zone


@app.cell
def _(choice, filters, lake, mo, pictures, questions):
    # One number for "now", of one moment: `watching_now`, of the sessions that the filters leave.
    heard = questions.heard_now(lake, choice)
    meanings = {
        "watching": "Sessions that play main content or an ad, and were heard from within three of their pings.",
        "starting": "Sessions that wait for their first frame.",
        "buffering": "Sessions that wait for data.",
        "paused": "Sessions whose viewer paused.",
        "silent": "Open sessions that were not heard from; they close after ten minutes.",
    }
    mo.vstack(
        [
            mo.md(f"Filters: {choice.words}"),
            pictures.tiles(
                mo, [pictures.tile(name, heard[name], "count", meaning=text) for name, text in meanings.items()]
            ),
        ]
    )
    return


@app.cell
def _(choice, compared, lake, mo, pictures, questions):
    # Each is a metric of the catalogue: its definition is a hover away.
    names = {
        "media_starts_adobe": "starts",
        "start_failure_ratio_conviva": "failed to start",
        "exit_before_start_ratio_conviva": "left before start",
        "playback_failure_ratio_conviva": "failed while playing",
        "startup_s_p95_newrelic": "startup p95",
        "rebuffer_ratio_cta2066": "rebuffering",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {compared}"),
            pictures.compared(mo, questions, lake, choice, names, compared),
        ]
    )
    return


@app.cell
def _(choice, compared, lake, mo, pictures, questions, zone):
    lines = [
        {"at": pictures.as_clock(row["at"] + moved, zone), "value": row["viewers"], "series": series}
        for series, asked, moved in (
            ("this period", choice, choice.back * 0),
            (compared, choice.before(), choice.back),
        )
        for row in questions.audience(lake, asked).to_pylist()
    ]
    mo.vstack(
        [
            mo.md("## Watching at once"),
            pictures.over_time(lines, title="viewers in the mean", note=choice.zone),
            mo.md(
                f"Main content or ads playing, in the mean of each {choice.bucket_words} that is over; "
                "silence and pauses are not watching."
            ),
        ]
    )
    return


@app.cell
def _(as_text, choice, lake, mo, pictures, questions):
    columns = ["content_time_s", "startup_s_p95_newrelic", "rebuffer_ratio_cta2066", "start_failure_ratio_conviva"]
    by_content = questions.metrics(
        lake,
        choice,
        columns,
        by="coalesce(content_name, content_id, 'unknown')",
        order="content_time_s DESC, value",
    )
    table = [
        {
            "content": row["value"],
            "sessions": row["n"],
            "hours": round((row["content_time_s"] or 0) / 3600, 2),
            "startup p95": pictures.sampled(row["startup_s_p95_newrelic"], "s", row["n"], choice.sample_min),
            "rebuffering": pictures.sampled(row["rebuffer_ratio_cta2066"], "ratio", row["n"], choice.sample_min),
            "failed to start": pictures.sampled(
                row["start_failure_ratio_conviva"], "ratio", row["n"], choice.sample_min
            ),
        }
        for row in by_content
    ]
    mo.vstack(
        [
            mo.md("## By content"),
            pictures.bars(table[:15], "hours", "content", title="hours of main content played"),
            mo.ui.table(as_text(table), selection=None, page_size=15, show_data_types=False),
        ]
    )
    return


@app.cell
def _(as_text, choice, lake, mo, newest_at, read, zone):
    refused = read(
        lake,
        """
        SELECT source, reason, count(*) AS records, max(received_at) AS newest, any_value(detail) AS example
        FROM quarantine WHERE received_at >= $since AND received_at < $until
        GROUP BY source, reason ORDER BY records DESC
        """,
        since=choice.since,
        until=choice.until,
    ).to_pylist()
    behind_s = read(lake, "SELECT epoch(now()) - epoch($newest::TIMESTAMPTZ) AS s", newest=newest_at).to_pylist()[
        0
    ]
    mo.vstack(
        [
            mo.md("## Freshness, and what was refused"),
            mo.md(
                f"The lake knows everything up to {newest_at.astimezone(zone):%Y-%m-%d %H:%M:%S} ({choice.zone}), "
                f"{max(behind_s['s'], 0):,.0f} s ago."
            ),
            mo.ui.table(as_text(refused), selection=None, show_data_types=False)
            if refused
            else mo.md("Nothing was refused in this period."),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
