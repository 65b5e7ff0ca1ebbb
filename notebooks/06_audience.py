"""How many watch, and when?"""

import marimo

app = marimo.App(width="medium", app_title="Playhead: audience")


@app.cell
def _():
    import marimo as mo

    from notebooks import audiences, figures, filters, page, pictures, questions

    lake, bar, refresh, snapshot, set_snapshot, head = page.opened(mo, "Audience")
    head
    return audiences, bar, figures, filters, lake, mo, page, pictures, questions, refresh, set_snapshot, snapshot


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
    cut_by = page.cut_by(mo, bar, "site")
    return (cut_by,)


@app.cell
def _(audiences, choice, figures, filters, lake, mo, pictures, questions):
    known_from = filters.first_moment(lake) or choice.until
    now, then = (audiences.watched(lake, when, known_from) for when in (choice, choice.before()))
    of = questions.meaning("average_minute_audience")
    enough = {"n": now.sessions, "sample_min": choice.sample_min}
    beside = {"n_before": then.sessions, "compared": choice.compared}
    peak_at = [] if now.peak_at is None else [f"from {choice.clock(now.peak_at)}"]
    width = (
        "each minute" if now.width.seconds == 60 else f"{choice.bucket_words}, and its least and largest minute"
    )
    mo.vstack(
        [
            figures.tiles(
                mo,
                [
                    figures.tile(
                        "average audience",
                        now.average,
                        "viewers",
                        meaning=of,
                        before=then.average,
                        **enough,
                        **beside,
                    ),
                    figures.tile(
                        "largest minute",
                        now.peak,
                        "viewers",
                        meaning=f"The minute with the largest {of}",
                        before=then.peak,
                        more=peak_at,
                        **enough,
                        **beside,
                    ),
                    figures.tile(
                        "average with ads",
                        now.with_ads,
                        "viewers",
                        meaning=f"Main content or ads; without ads it is {of}",
                        before=then.with_ads,
                        **enough,
                        **beside,
                    ),
                ],
            ),
            mo.md("## Watching at once"),
            pictures.over_time(audiences.lines(choice, now, then), title="viewers in the mean", note=choice.zone),
            mo.md(
                f"Main content playing, in the mean of {width}; ads, silence and pauses are not in it. "
                f"n = {now.sessions:,} sessions that played any, in {now.minutes:,} whole minutes; parts of "
                "minutes at the edges, and what was before the lake began, are left out."
            ),
        ]
    )
    return


@app.cell
def _(audiences, choice, cut_by, filters, lake, mo, pictures, questions):
    parts = audiences.by_value(lake, choice, filters.column(cut_by.value))
    mo.vstack(
        [
            mo.hstack([mo.md("## By"), cut_by], justify="start"),
            pictures.stacked(
                [
                    {
                        "at": questions.as_clock(choice.local(row["at"])),
                        "value": row["viewers"],
                        "series": row["value"],
                    }
                    for row in parts
                ],
                title="viewers in the mean",
                note=choice.zone,
            ),
            mo.md(
                f"The {questions.SERIES_MAX} largest, and all others: main content playing, in the mean of each "
                f"{choice.bucket_words} that is whole within the period."
            ),
        ]
    )
    return


@app.cell
def _(filters, lake, mo):
    import json
    from datetime import timedelta

    from notebooks import programmes

    # Your schedule: one row a programme. It is in the address, and is not made again when data arrive.
    newest = filters.newest_moment(lake)
    mo.stop(newest is None)
    an_hour = {
        "programme": "the newest hour",
        "since": (newest - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "until": newest.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "channel": "",
    }
    schedule = mo.ui.data_editor(
        programmes.schedule_in(mo.query_params().get("programmes"), an_hour),
        label="Programmes: name, since and until (UTC, or with an offset), and a channel or nothing for all",
        on_change=lambda rows: mo.query_params().set("programmes", json.dumps(rows)),
    )
    schedule
    return programmes, schedule


@app.cell
def _(figures, lake, mo, programmes, schedule, snapshot):
    snapshot()
    answers, wrong = programmes.audience(lake, schedule.value)
    mo.vstack(
        [
            mo.md("## Programmes"),
            figures.table(mo, answers, pagination=False),
            *(mo.callout(mo.plain_text(sentence), kind="warn") for sentence in wrong),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
