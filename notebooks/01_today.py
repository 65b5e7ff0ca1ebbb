"""What is being watched today, and how fresh that is."""

import marimo

app = marimo.App(width="medium", app_title="Playhead: today")


@app.cell
def _():
    import os
    from pathlib import Path

    import altair as alt
    import marimo as mo

    from notebooks.connect import open_lake, read
    from notebooks.names import as_text

    data = mo.cli_args().get("data")
    lake = open_lake(os.environ, Path(str(data)) if data else None)
    return alt, as_text, lake, mo, read


@app.cell
def _(mo):
    refresh = mo.ui.refresh(options=["2s", "5s", "30s", "5m"], default_interval="5s")
    span = mo.ui.dropdown(
        {
            "the last hour by minute": ("1 hour", "1 minute"),
            "today by ten minutes": ("24 hours", "10 minutes"),
            "today by hour": ("24 hours", "1 hour"),
        },
        value="the last hour by minute",
    )
    mo.hstack([mo.md("# What is being watched today"), refresh], align="center", justify="space-between")
    return refresh, span


@app.cell
def _(lake, mo, read, refresh):
    refresh
    today = read(
        lake,
        """
        SELECT
            count(*) AS sessions,
            (SELECT viewers FROM watching_now) AS watching,
            coalesce(sum(content_time_s), 0) / 3600 AS content_h,
            coalesce(sum(ad_time_s), 0) / 3600 AS ad_h,
            count(DISTINCT user_id) AS users,
            count(*) FILTER (errors > 0) AS with_errors
        FROM sessions WHERE last_received_at >= current_date
        """,
    ).to_pylist()[0]
    fresh = read(
        lake,
        """
        SELECT
            epoch(now()) - epoch(max(partition_time)) AS age_s,
            coalesce(sum(inserted), 0)::BIGINT AS events,
            coalesce(sum(quarantined), 0)::BIGINT AS quarantined
        FROM ledger
        """,
    ).to_pylist()[0]
    age = "nothing yet" if fresh["age_s"] is None else f"{max(fresh['age_s'], 0):,.0f} s ago"
    mo.vstack(
        [
            mo.hstack(
                [
                    mo.stat(f"{today['watching']:,}", label="Now", caption="heard of this minute", bordered=True),
                    mo.stat(f"{today['sessions']:,}", label="Today", caption="sessions", bordered=True),
                    mo.stat(
                        f"{today['users']:,}", label="Viewers", caption="who agreed to be known", bordered=True
                    ),
                    mo.stat(f"{today['content_h']:,.1f} h", label="Content", caption="watched", bordered=True),
                    mo.stat(f"{today['ad_h']:,.1f} h", label="Ads", caption="watched", bordered=True),
                    mo.stat(
                        f"{today['with_errors']:,}", label="Errors", caption="sessions with any", bordered=True
                    ),
                ],
                widths="equal",
            ),
            mo.md(
                f"Newest event: **{age}**. The lake has {fresh['events']:,} events "
                f"and {fresh['quarantined']:,} quarantined records. Times are UTC."
            ),
        ]
    )
    return


@app.cell
def _(alt, lake, mo, read, refresh, span):
    refresh
    back, step = span.value
    # A session is there from its first event to arrive to its last; players' clocks may be wrong.
    over_time = read(
        lake,
        """
        WITH shown AS (
            SELECT greatest(current_date, time_bucket($step::INTERVAL, now() - $back::INTERVAL)) AS since
        ), there AS (
            SELECT
                coalesce(content_name, content_id, 'unknown') AS content,
                time_bucket($step::INTERVAL, greatest(first_received_at, since)) AS first_bar,
                time_bucket($step::INTERVAL, last_received_at) AS last_bar
            FROM sessions, shown WHERE last_received_at >= since
        ), largest AS (
            SELECT content FROM there GROUP BY content ORDER BY count(*) DESC, content LIMIT 9
        ), bars AS (
            SELECT
                coalesce(largest.content, 'all others') AS content,
                unnest(generate_series(first_bar, last_bar, $step::INTERVAL)) AS since
            FROM there LEFT JOIN largest USING (content)
        )
        SELECT
            content,
            epoch_ms(since) AS since,
            epoch_ms(since + $step::INTERVAL) AS until,
            strftime(since, '%H:%M') AS time,
            count(*) AS sessions
        FROM bars GROUP BY ALL ORDER BY ALL
        """,
        back=back,
        step=step,
    )
    (edges,) = read(
        lake,
        "SELECT epoch_ms(greatest(current_date, now() - $back::INTERVAL)) AS since, epoch_ms(now()) AS until",
        back=back,
    ).to_pylist()
    by_time = (
        alt.Chart(over_time, height=260, width="container")
        .mark_bar(clip=True, orient="vertical")
        .encode(
            alt.X(
                "since:T",
                title=None,
                axis=alt.Axis(format="%H:%M", tickCount=12),
                scale=alt.Scale(type="utc", domain=[edges["since"], edges["until"]]),
            ),
            alt.X2("until:T"),
            alt.Y("sessions:Q", title="sessions", stack="zero"),
            alt.Color("content:N", title=None, legend=alt.Legend(orient="bottom", columns=4, labelLimit=300)),
            tooltip=["content:N", "time:N", "sessions:Q"],
        )
    )
    mo.vstack([mo.hstack([mo.md("## Sessions"), span], align="center", justify="start"), by_time])
    return


@app.cell
def _(alt, as_text, lake, mo, read, refresh):
    refresh
    contents = read(
        lake,
        """
        SELECT
            coalesce(content_name, content_id, 'unknown') AS content,
            count(*) FILTER (session_id IN (SELECT session_id FROM open_now WHERE is_watching)) AS now,
            count(*) AS sessions,
            round(sum(content_time_s) / 60, 1) AS minutes,
            round(100 * avg(is_completed::INTEGER)) AS "completed %",
            round(avg(startup_s) FILTER (is_started), 2) AS "startup s",
            round(100 * sum(rebuffer_time_s) / nullif(sum(content_time_s + rebuffer_time_s), 0), 2) AS "rebuffer %"
        FROM sessions WHERE last_received_at >= current_date
        GROUP BY content ORDER BY minutes DESC, content LIMIT 20
        """,
    )
    by_content = (
        alt.Chart(contents, height=alt.Step(22), width="container")
        .mark_bar()
        .encode(
            alt.X("minutes:Q", title="minutes of content watched"),
            alt.Y("content:N", title=None, sort="-x", axis=alt.Axis(labelLimit=300)),
            tooltip=["content:N", "minutes:Q", "sessions:Q"],
        )
    )
    rows = mo.ui.table(
        as_text(contents.to_pylist()), selection=None, pagination=False, show_search=False, show_data_types=False
    )
    mo.vstack([mo.md("## By content"), by_content, rows])
    return


if __name__ == "__main__":
    app.run()
