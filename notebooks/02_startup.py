"""How long do people wait for the first frame?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: startup")


@app.cell
def _():
    import marimo as mo

    from notebooks import figures, page, pictures, questions
    from notebooks.connect import read

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Startup")
    head
    return bar, figures, lake, mo, page, pictures, questions, read, refresh, set_snapshot, snapshot


@app.cell
def _(lake, page, refresh, set_snapshot, snapshot):
    refresh  # now and then
    page.look(lake, snapshot, set_snapshot)
    return


@app.cell
def _(bar, lake, mo, page, snapshot):
    snapshot()
    choice = page.chosen(mo, lake, bar)
    page.filters_in_words(mo, choice)
    return (choice,)


@app.cell
def _(bar, mo, page):
    cut_by = page.cut_by(mo, bar, "player")
    return (cut_by,)


@app.cell
def _(choice, figures, lake, mo):
    names = {
        "startup_s_median_newrelic": "half wait less than",
        "startup_s_p75_newrelic": "75 % wait less than",
        "startup_s_p95_newrelic": "95 % wait less than",
        "startup_s_mean_cta2066": "mean",
        "exit_before_start_ratio_conviva": "left before start",
        "start_failure_ratio_conviva": "failed to start",
    }
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, and {choice.compared}"),
            figures.compared(mo, lake, choice, names),
        ]
    )
    return


@app.cell
def _(choice, lake, mo, pictures, questions):
    lines = {
        "startup_s_median_newrelic": "median",
        "startup_s_p75_newrelic": "75th percentile",
        "startup_s_p95_newrelic": "95th percentile",
    }
    over_time = questions.metrics(lake, choice, list(lines), by=choice.bucket, order="value")
    mo.vstack(
        [
            mo.md("## Over time"),
            pictures.over_time(questions.points(over_time, choice, lines), title="seconds", note=choice.zone),
            mo.md(questions.points_in_words(over_time, choice)),
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
        WHERE is_started AND {choice.started()}
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
            AND {choice.started()}
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
        WHERE is_closed AND has_start AND {choice.started()}
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
def _(choice, cut_by, figures, lake, mo):
    percentiles = ["startup_s_median_newrelic", "startup_s_p75_newrelic", "startup_s_p95_newrelic"]
    figures.by_dimension(mo, lake, choice, [*percentiles, "exit_before_start_ratio_conviva"], cut_by)
    return


if __name__ == "__main__":
    app.run()
