"""Is it well, and who watches what?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: now")


@app.cell
def _():
    import marimo as mo

    from notebooks import audiences, figures, filters, page, pictures, quality, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Now", period="last hour", every="2s")
    head
    return (
        audiences,
        bar,
        figures,
        filters,
        lake,
        mo,
        page,
        pictures,
        quality,
        questions,
        refresh,
        set_snapshot,
        snapshot,
    )


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
def _(choice, figures, filters, lake, mo, questions):
    # One number for "now", of one moment: `watching_now`, of the sessions that the filters leave.
    from datetime import timedelta

    heard = questions.heard_now(lake, choice)
    meanings = {
        "watching": "Sessions that play main content or an ad, and were heard from within three of their pings.",
        "starting": "Sessions that wait for their first frame.",
        "buffering": "Sessions that wait for data.",
        "paused": "Sessions whose viewer paused.",
        "silent": "Open sessions that were not heard from; they close after ten minutes.",
    }
    known_from = filters.first_moment(lake) or choice.now
    earlier = {
        words: questions.watching_at(lake, choice, choice.now - back, known_from)
        for words, back in {"an hour before": timedelta(hours=1), "a week before": timedelta(days=7)}.items()
    }
    watched = [f"{words}: {figures.figure(count, 'count')}" for words, count in earlier.items()]
    figures.tiles(
        mo,
        [
            figures.tile(name, heard[name], "count", meaning=text, more=watched if name == "watching" else ())
            for name, text in meanings.items()
        ],
    )
    return (known_from,)


@app.cell
def _(lake, questions):
    import functools

    # The score of a minute that is over is asked for once.
    health = functools.lru_cache(maxsize=4)(functools.partial(questions.health, lake))
    return (health,)


@app.cell
def _(choice, figures, health, lake, mo, questions):
    # Each is a metric of the catalogue: its definition is a hover away; and a measure of `health_by_minute`.
    names = {
        "media_starts_adobe": ("starts", "starts"),
        "start_failure_ratio_conviva": ("failed to start", "failures_before_start"),
        "exit_before_start_ratio_conviva": ("left before start", "exits_before_start"),
        "playback_failure_ratio_conviva": ("failed while playing", "failures_after_start"),
        "startup_s_p95_newrelic": ("startup p95", "startup_p95_s"),
        "rebuffer_ratio_cta2066": ("rebuffering", "bufferings"),
    }
    scored = questions.scored_by(choice)
    minute = choice.now.replace(second=0, microsecond=0)
    scores = health(minute, *scored) if scored else None
    mo.vstack(
        [
            mo.md(f"## Sessions that started in this period, {choice.compared}, and a week before"),
            figures.compared(
                mo,
                lake,
                choice,
                {name: label for name, (label, _) in names.items()},
                *choice.beside_a_week_before(),
                remarks={name: figures.health(scores and scores[measure]) for name, (_, measure) in names.items()},
            ),
            mo.md(
                "The last line scores the last five minutes against the hour before and the same hour a week "
                "before, in standard errors (`health_by_minute`); what may be chance scores 0."
                if scored
                else "Scores (`health_by_minute`) exist only without filters, for one value of one filter (not an "
                "app version alone), or for one version of one player."
            ),
        ]
    )
    return


@app.cell
def _(audiences, choice, known_from, lake, mo, pictures):
    lines, sessions = audiences.compared(lake, choice, known_from, *choice.beside_a_week_before())
    mo.vstack(
        [
            mo.md("## Watching at once"),
            pictures.over_time(lines, title="viewers in the mean", note=choice.zone),
            mo.md(
                f"Main content or ads playing, in the mean of each {choice.bucket_words} that is over; "
                f"silence and pauses are not watching. n = {sessions:,} sessions that watched any of it; what was "
                "before the lake began is unknown."
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, lake, mo, pictures, questions):
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
            "startup p95": figures.sampled(row["startup_s_p95_newrelic"], "s", row["n"], choice.sample_min),
            "rebuffering": figures.sampled(row["rebuffer_ratio_cta2066"], "ratio", row["n"], choice.sample_min),
            "failed to start": figures.sampled(
                row["start_failure_ratio_conviva"], "ratio", row["n"], choice.sample_min
            ),
        }
        for row in by_content
    ]
    headed = dict(zip(["hours", "startup p95", "rebuffering", "failed to start"], columns, strict=True))
    meant = {head: questions.meaning(name) for head, name in headed.items()}
    mo.vstack(
        [
            mo.md("## By content"),
            pictures.bars(table[:15], "hours", "content", title="hours of main content played"),
            figures.table(
                mo, table, page_size=15, header_tooltip={"sessions": questions.meaning("sessions"), **meant}
            ),
        ]
    )
    return


@app.cell
def _(choice, figures, lake, mo, quality):
    from datetime import UTC, datetime

    refused = quality.refused(lake, choice.since, choice.until)
    behind_s = (datetime.now(UTC) - choice.now).total_seconds()
    mo.vstack(
        [
            mo.md("## Freshness, and what was refused"),
            mo.md(
                f"The lake knows everything up to {choice.clock(choice.now, seconds=True)} ({choice.zone}), "
                f"{max(behind_s, 0):,.0f} s ago."
            ),
            figures.table(
                mo,
                [
                    {name: row[name] for name in ("source", "reason", "what was wrong", "records")}
                    for row in refused
                ],
                empty="Nothing was refused in this period.",
            ),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
