"""Is it well, and who watches what?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: now")


@app.cell
def _():
    import marimo as mo

    from notebooks import page, pictures, questions
    from notebooks.connect import read
    from notebooks.names import as_text

    lake = page.lake_of(mo, "Now")
    return as_text, lake, mo, page, pictures, questions, read


@app.cell
def _(lake, mo, page):
    bar, refresh, snapshot, set_snapshot = page.controls(mo, lake, period="last hour", every="2s")
    return bar, refresh, set_snapshot, snapshot


@app.cell
def _(bar, mo, page, refresh):
    page.head(mo, "Now", bar, refresh)
    return


@app.cell
def _(lake, page, refresh, set_snapshot, snapshot):
    refresh  # now and then
    page.look(lake, snapshot, set_snapshot)
    return


@app.cell
def _(bar, lake, mo, page, snapshot):
    snapshot()
    choice = page.chosen(mo, lake, bar)
    mo.md(f"Filters: {choice.words}")
    return (choice,)


@app.cell
def _(choice, lake, mo, pictures, questions):
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
            pictures.tiles(
                mo, [pictures.tile(name, heard[name], "count", meaning=text) for name, text in meanings.items()]
            ),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures):
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
            mo.md(f"## Sessions that started in this period, and {choice.compared}"),
            pictures.compared(mo, lake, choice, names),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions):
    lines = questions.audience_compared(lake, choice)
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
def _(as_text, choice, lake, mo, read):
    from datetime import UTC, datetime

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
    behind_s = (datetime.now(UTC) - choice.until).total_seconds()
    mo.vstack(
        [
            mo.md("## Freshness, and what was refused"),
            mo.md(
                f"The lake knows everything up to {choice.local(choice.until):%Y-%m-%d %H:%M:%S} ({choice.zone}), "
                f"{max(behind_s, 0):,.0f} s ago."
            ),
            mo.ui.table(as_text(refused), selection=None, show_data_types=False)
            if refused
            else mo.md("Nothing was refused in this period."),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
